import { basename } from "node:path";
import type { RunSummary } from "../runs/compare-runs.js";
import { seedOf, type ComparedRow } from "../runs/compared-rows.js";
import { defaultOf, type Flags, type ValuesOf } from "../core/flag.js";
import { chosenMethod, optionGroups } from "../peft/registry.js";
import { unreadFlags } from "./reads.js";
import { trainFlags, type TrainFlagValues } from "./train-flags.js";
import { trainReads } from "./train-reads.js";

/** Flags that have no part in what a run computes: where it lies, what it prints, how it is started. */
const incidental: readonly string[] = [
  "ckpt",
  "dataset_analysis",
  "device_dir",
  "local_rank",
  "log_steps",
  "num_workers",
  "output_folder",
  "resume_from_checkpoint",
  "save_total_limit",
  "skip_device_check",
] satisfies readonly (keyof typeof trainFlags)[];

/** Every flag of a run with its effective value; what it has not recorded has its default. */
const valuesOf = ({ flags }: RunSummary): TrainFlagValues =>
  Object.fromEntries(
    Object.entries(trainFlags as Flags).map(([name, flag]) => [
      name,
      // auto is the CPU, and a name for nothing else.
      incidental.includes(name) || (name === "device" && flags[name] === "cpu")
        ? defaultOf(flag)
        : (flags[name] ?? defaultOf(flag)),
    ]),
  ) as TrainFlagValues;

/** What a setting is in the eyes of a comparison, and how it is shown. */
interface Setting {
  /** Undefined for a flag that the run does not read: its value says nothing. */
  readonly value: string | undefined;
  /** Undefined where a name has nothing to say of it: a flag that was not given, or has no effect in this run. */
  readonly shown: string | undefined;
}

type Settings = ReadonlyMap<string, Setting>;

/** Flags whose files tell more than their names, by the condition that holds their hashes. */
const hashed: Readonly<Record<string, "model" | "data">> = { model_name: "model", dataset: "data" };

/** `lr=0.001`, a switch as its name alone; undefined for what was not given. */
const show = (name: string, value: unknown): string | undefined => {
  if (value === null || value === undefined || value === "") return undefined;
  if ((trainFlags as Flags)[name]?.kind === "switch") return value === true ? name : undefined;
  return `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`;
};

/** The settings that decide what the run computes; flags that it does not read are null. */
const settingsOf = (run: RunSummary): Settings => {
  const values = valuesOf(run);
  const names = Object.keys(trainFlags).filter((name) => !incidental.includes(name));
  const unread = new Set(
    unreadFlags(trainReads, values as ValuesOf<Flags>, names).map(({ name }) => name),
  );
  // The hash of the rows covers where they were found.
  const covered = run.conditions.data === undefined ? [] : ["data_dir", "validation"];
  const settings = new Map<string, Setting>();
  for (const name of names) {
    if (unread.has(name) || covered.includes(name)) {
      settings.set(name, { value: undefined, shown: undefined });
      continue;
    }
    const value = (values as Readonly<Record<string, unknown>>)[name];
    const condition = hashed[name];
    const hash = condition && run.conditions[condition];
    const isPath = condition !== undefined && typeof value === "string";
    settings.set(name, {
      value: hash ?? JSON.stringify(value ?? null),
      shown: show(name, isPath ? basename(value) : value),
    });
  }
  return settings;
};

/** What two runs have in common that differ in their seeds alone: all settings, and how they were answered. */
const seedlessKey = (run: RunSummary, settings: Settings): string => {
  const { accuracy } = run;
  return JSON.stringify([
    [...settings].filter(([name]) => name !== "seed").map(([, { value }]) => value),
    accuracy && [basename(accuracy.model), Object.keys(accuracy.sets)],
  ]);
};

/** Runs that differ in seed alone, together, in the order of the first; unfinished ones and repeated seeds alone. */
const groupSeeds = (
  runs: readonly RunSummary[],
  settings: ReadonlyMap<RunSummary, Settings>,
): readonly (readonly RunSummary[])[] => {
  const groups: { readonly key: string; readonly runs: RunSummary[] }[] = [];
  for (const run of runs) {
    const key = seedlessKey(run, settings.get(run) ?? new Map());
    const group = groups.find(
      (known) => known.key === key && !known.runs.some((other) => seedOf(other) === seedOf(run)),
    );
    if (group && run.finished) group.runs.push(run);
    else groups.push({ key: run.finished ? key : "", runs: [run] });
  }
  return groups.map((group) => group.runs);
};

const withoutSeed = (name: string): string =>
  name
    .split(",")
    .filter((part) => !/^seed=\d+$/.test(part))
    .join(",");

/** The sweep's own names, without the seed in a row of several; undefined unless all runs are of one sweep and these names tell them apart. */
const sweepNames = (groups: readonly (readonly RunSummary[])[]): readonly string[] | undefined => {
  const cells = groups.map((runs) => runs.flatMap(({ sweep }) => sweep ?? []));
  const isWhole = groups.every((runs, i) => runs.length === cells[i]?.length);
  if (!isWhole || new Set(cells.flat().map(({ folder }) => folder)).size > 1) return undefined;
  const names = cells.map((group) => {
    const own = group.map(({ name }) => (group.length > 1 ? withoutSeed(name) : name));
    return own.every((name) => name === own[0]) ? own[0] : undefined;
  });
  const known = names.filter((name) => name !== undefined);
  return known.length === names.length && new Set(known).size === names.length ? known : undefined;
};

/** The settings in which the rows differ, in the order of the help; a row of one run has its seed too. */
const differingNames = (
  groups: readonly (readonly RunSummary[])[],
  settings: ReadonlyMap<RunSummary, Settings>,
): readonly string[] => {
  const firsts = groups.map(([run]) => (run && settings.get(run)) ?? new Map<string, Setting>());
  const seeds = groups.map((runs) => runs.map(seedOf).sort().join());
  const differs = (name: string): boolean =>
    name === "seed"
      ? new Set(seeds).size > 1
      : new Set(firsts.flatMap((known) => known.get(name)?.value ?? [])).size > 1;
  const differing = Object.keys(trainFlags).filter(differs);
  return groups.map((runs, i) => {
    const own = firsts[i] ?? new Map<string, Setting>();
    return differing
      .flatMap((name) => {
        if (name === "seed") return runs.length === 1 && runs[0] ? [`seed=${seedOf(runs[0])}`] : [];
        const shown = own.get(name)?.shown;
        const isFile = hashed[name] !== undefined;
        // Files of one name that differ are told apart by the hash that the condition shows.
        const alike = firsts.some(
          (other) =>
            other.get(name)?.shown === shown && other.get(name)?.value !== own.get(name)?.value,
        );
        return shown === undefined
          ? []
          : [isFile && alike ? `${name}=${own.get(name)?.value ?? ""}` : shown];
      })
      .join(",");
  });
};

/** The same names, with a number behind those that stand there before. */
const distinct = (names: readonly string[]): readonly string[] =>
  names.map((name, i) => {
    const before = names.slice(0, i).filter((other) => other === name).length;
    return before === 0 ? name : `${name} (${String(before + 1)})`;
  });

/**
 * The rows of a comparison: runs that differ in seed alone share one.
 *
 * A row's name is that of the sweep that all runs are of, else the flags in which the rows differ, else the method.
 */
export const comparedRows = (runs: readonly RunSummary[]): readonly ComparedRow[] => {
  const settings = new Map(runs.map((run) => [run, settingsOf(run)]));
  const groups = groupSeeds(runs, settings);
  const names = (sweepNames(groups) ?? differingNames(groups, settings)).map((name, i) =>
    name === "" ? (groups[i]?.[0]?.method ?? "run") : name,
  );
  return distinct(names).map((name, i) => ({ name, runs: groups[i] ?? [] }));
};

/** The ranks that the run's method has, with a bar between them: "16/8"; "16+" where some modules have others. */
export const rankOf = (run: RunSummary): string | undefined => {
  const values = valuesOf(run);
  const method = chosenMethod(values.peft_type, values.qlora_adapter);
  const groups = (method?.groups ?? optionGroups).filter(({ isRank }) => isRank);
  if (run.method === undefined || groups.length === 0) return undefined;
  const byName: Readonly<Record<string, unknown>> = values;
  const ranks = groups.flatMap(({ flags, nullMeans = {} }) =>
    Object.keys(flags).map((name) => String(byName[name] ?? byName[nullMeans[name] ?? ""])),
  );
  return `${ranks.join("/")}${values.rank_pattern === null ? "" : "+"}`;
};
