import { commonsenseSets } from "../score/commonsense.js";
import { normalizations, type ScoringComparison, type Share } from "../score/likelihood.js";
import { formatTable, type Column } from "./table.js";

const percent = (share: Share | undefined): string =>
  share === undefined
    ? "-"
    : `${share.accuracy.toFixed(1)} (${share.interval.low.toFixed(1)}-${share.interval.high.toFixed(1)})`;

const headings = {
  sum: "loglik",
  token: "by token",
  byte: "by byte",
  character: "by char.",
} as const;

/** Answers by what was written and by likelihood, side by side: percent right, with Wilson's 95 % interval; no line where there is nothing. */
export const scoringLines = (
  compared: readonly ScoringComparison[],
  width: number,
): readonly string[] => {
  if (compared.length === 0) return [];
  const columns: readonly Column[] = [
    { heading: "set", align: "left" },
    ...["rows", "written", ...normalizations.map((by) => headings[by]), "differ"].map(
      (heading): Column => ({ heading, align: "right" }),
    ),
  ];
  const rows = compared.map(({ set, rows: count, generated, likelihood, differ }) => [
    commonsenseSets[set].title,
    String(count),
    percent(generated),
    ...normalizations.map((by) => percent(likelihood[by])),
    differ === undefined ? "-" : `${differ.toFixed(1)}%`,
  ]);
  return [
    ...formatTable(columns, rows, { width }),
    "percent right, with 95% intervals; differ: rows where the answer that was written is not the likeliest by sum",
    ...(compared.some(({ generated }) => generated === undefined)
      ? ["-: no written answers to these rows beside; --scoring=both writes them"]
      : []),
  ];
};
