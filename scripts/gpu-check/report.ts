import type { Row } from "./stage.js";

/** How a stage ended. */
export interface StageReport {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  /** "faults": it ran, and some of its lines are not ok. */
  readonly state: "ok" | "faults" | "failed" | "stopped" | "left out";
  readonly seconds: number;
  readonly rows: readonly Row[];
  /** The end of what it wrote, where it failed or was stopped. */
  readonly output?: string;
}

/** What report.json holds. */
export interface CheckReport {
  readonly begun: string;
  readonly device: string;
  readonly dryRun: boolean;
  readonly machine: string;
  readonly commit: string;
  readonly seconds: number;
  readonly stages: readonly StageReport[];
}

const cell = (name: string, value: Row[string] | undefined): string => {
  if (value === undefined || value === null) return "";
  if (typeof value !== "boolean") return String(value).replaceAll("|", "\\|");
  if (value) return "yes";
  return name === "ok" ? "NO" : "no";
};

const table = (rows: readonly Row[]): readonly string[] => {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter(
    (name) => name !== "ok",
  );
  const all = [...columns, "ok"];
  return [
    `| ${all.join(" | ")} |`,
    `|${all.map(() => " --- |").join("")}`,
    ...rows.map((row) => `| ${all.map((name) => cell(name, row[name])).join(" | ")} |`),
  ];
};

/** The report for people, in Markdown. */
export const renderReport = ({
  begun,
  device,
  dryRun,
  machine,
  commit,
  seconds,
  stages,
}: CheckReport): string =>
  [
    `# gpu-check: ${device}${dryRun ? ", dry run" : ""}`,
    "",
    ...(dryRun
      ? [
          "**Never run on a card**: a dry run does all but the card, on the CPU provider, with small shapes.",
          "",
        ]
      : []),
    `${begun}; ${machine}; commit ${commit}; ${seconds.toFixed(0)} s in all.`,
    "",
    "| stage | state | s | lines | not ok |",
    "| --- | --- | --- | --- | --- |",
    ...stages.map(
      ({ name, state, seconds: took, rows }) =>
        `| ${name} | ${state} | ${took.toFixed(0)} | ${String(rows.length)} | ${String(rows.filter(({ ok }) => ok === false).length)} |`,
    ),
    "",
    ...stages.flatMap(({ name, title, about, rows, output, state }) => [
      `## ${title} (${name}: ${state})`,
      "",
      about,
      "",
      ...(rows.length > 0 ? [...table(rows), ""] : []),
      ...(output ? ["```", output.replaceAll("```", "'''"), "```", ""] : []),
    ]),
  ].join("\n");
