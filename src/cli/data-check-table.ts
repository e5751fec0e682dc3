import { listRows } from "../core/row-names.js";
import { lengthTable, paddingLines } from "../datasets/analysis.js";
import type { Finding } from "../datasets/check-rows.js";
import type { CheckedData } from "../runs/checked-data.js";
import { wrapText } from "./wrap-text.js";

const numberLine = ({ split, rows, of, text }: Finding): string =>
  `${split}: ${String(rows.length)} (${((100 * rows.length) / of).toFixed(1)}%) ${text}`;

const sameRowsText =
  "validation and test are the same rows: a run that chooses among checkpoints chooses by the test rows, so its test figures are too good";

/** A check as lines for a terminal: what is wrong stands last. */
export const formatDataCheck = (data: CheckedData, columns: number): readonly string[] => {
  const { name, splits, findings, missing, unknownTokens, warnings, padding, isWrong } = data;
  const wrap = (text: string): readonly string[] => wrapText(text, columns, "  ");
  const tell = (finding: Finding, label = ""): readonly string[] => [
    ...wrap(`${label}${numberLine(finding)}`),
    ...wrapText(listRows(finding.rows), columns - 2, "  ").map((line) => `  ${line}`),
  ];
  const hasLengths = splits.some(({ lengths }) => lengths !== undefined);
  const notes = findings.filter((finding) => !finding.isWrong);
  const lines = [
    ...wrap(
      `${name}${hasLengths ? ", lengths in tokens before cutting" : ", without lengths: --model names a tokenizer"}; rows are counted from 1`,
    ),
    ...data.remarks.flatMap(wrap),
    ...lengthTable(splits),
    "",
    ...notes.flatMap((finding) => tell(finding)),
    ...(data.validationIsTest ? wrap(sameRowsText) : []),
    ...warnings.flatMap(wrap),
    ...(padding ? paddingLines(padding) : []),
    ...missing.flatMap(({ why }) => wrap(`wrong: ${why}`)),
    ...findings.filter((finding) => finding.isWrong).flatMap((finding) => tell(finding, "wrong: ")),
    ...unknownTokens
      .slice(0, 8)
      .flatMap(({ where, ids }) =>
        wrap(
          `wrong: ${where}: tokens ${[...ids.keys()].join(", ")}, which the model has no embedding for`,
        ),
      ),
    ...(unknownTokens.length > 8
      ? [`wrong: and ${String(unknownTokens.length - 8)} more rows with such tokens`]
      : []),
  ];
  return isWrong ? lines : [...lines, "nothing wrong was found"];
};

/** The same for programs: rows are counted from 1 here too. */
export const dataCheckJson = (data: CheckedData): object => {
  const { findings, unknownTokens, ...rest } = data;
  return {
    ...rest,
    findings: findings.map(({ rows, ...finding }) => ({
      ...finding,
      count: rows.length,
      rows: rows.map((row) => row + 1),
    })),
    unknownTokens: unknownTokens.map(({ where, ids }) => ({ where, ids: [...ids.keys()] })),
  };
};
