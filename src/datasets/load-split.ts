import { join } from "node:path";
import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import { namesOf, recordFileIfThere } from "./family.js";
import type { Dataset } from "./registry.js";
import type { LoadedRows, Row, Split } from "./rows.js";
import { templates, type Template } from "./templates.js";

/** A split's rows after --dataset_ratio, and what was in its file. */
export interface LoadedSplit extends LoadedRows {
  readonly split: Split;
  /** Rows that the file gives, before --dataset_ratio. */
  readonly rowsInFile: number;
  /** What the user has to know before believing a checkpoint that these rows choose, and what to do about it. */
  readonly warning?: string | undefined;
}

/**
 * One split of a data set.
 *
 * A set that comes without a validation file gives its test rows as validation, as the original does, but with a
 * warning, as do rows that serve as validation and as test (ParlAI's valid); a validation file that someone has put beside the others is read instead.
 *
 * `ratio` below 1 keeps the first floor(rows * ratio) rows of train and validation. The test split stays whole, so that
 * an accuracy is over all test rows; compat "splits" cuts it too, and reads test as validation silently and always, as the original does.
 * @param root the data root, see resolveDataRoot
 * @param useInput whether a row's input is kept; see inputWarning for what is dropped
 * @throws {UserError} if the file is missing or broken, a row lacks a field, or the ratio leaves no row
 */
export const loadSplit = async (
  { name, member, family }: Dataset,
  split: Split,
  {
    root,
    ratio = 1,
    useInput = false,
    compat = new Set(),
  }: {
    readonly root: string;
    readonly ratio?: number;
    readonly useInput?: boolean;
    readonly compat?: Compat;
  },
): Promise<LoadedSplit> => {
  const readsTest =
    split === "validation" &&
    !member.ownValidation &&
    (compat.has("splits") ||
      (await recordFileIfThere(join(root, member.folder), namesOf(family, "validation"))) ===
        undefined);
  const loaded = await family.load(member, readsTest ? "test" : split, { root, useInput });
  requirePlaceForInput(loaded, member.template);
  const rowsInFile = loaded.rows.length;
  const rows =
    split === "test" && !compat.has("splits") ? loaded.rows : keepRatioOfRecords(loaded, ratio);
  const servesTwice =
    split === "validation" &&
    !readsTest &&
    (await recordFileIfThere(join(root, member.folder), namesOf(family, "test"))) === loaded.path;
  const warning = compat.has("splits")
    ? undefined
    : servesTwice
      ? `${name} has no test rows of its own: ${loaded.path} serves as validation and as test, so what chooses the best checkpoint is what is ` +
        "answered, and the test figures are too good. Put rows held out of train beside the others as validation.json"
      : readsTest
        ? `${name} has no validation rows: its test rows choose the best checkpoint, so the test accuracy is ` +
          `too good. Put rows held out of train beside the others as validation.json${member.template === templates[4] && member.maxNewTokens === 16 ? ", or train on common_170k" : ""}`
        : undefined;
  return { ...loaded, rows, split, rowsInFile, warning };
};

/** What a family has to say of the rows of a file, with its name. */
export const remarkLines = ({
  path,
  remarks = [],
}: Pick<LoadedRows, "path" | "remarks">): readonly string[] =>
  remarks.map((remark) => `${path}: ${remark}`);

/** What to say of the rows, among those that are used, whose input is not; undefined where there are none. */
export const inputWarning = (
  { path, rows, droppedInputs }: Pick<LoadedRows, "path" | "rows" | "droppedInputs">,
  advice = "--use_input puts it into the prompt",
): string | undefined => {
  const dropped = droppedInputs.filter((row) => row < rows.length);
  return dropped.length === 0
    ? undefined
    : `${path}: the "input" of ${String(dropped.length)} of ${String(rows.length)} rows is dropped, as train_hira.py does (${listRows(dropped)}); ${advice}`;
};

/** @throws {UserError} if a row's input is to be used and the template has no place for it */
const requirePlaceForInput = ({ rows, path }: LoadedRows, template: Template): void => {
  if (template.withInput) return;
  const withInput = rows.flatMap(({ input }, row) => (input === undefined ? [] : [row]));
  if (withInput.length > 0)
    throw new UserError(
      `Cannot use the input of ${path}: found one in ${listRows(withInput)}, expected none, since the set's template has no place for it`,
      "Leave out --use_input, or put the input into the instruction",
    );
};

/** As keepRatio, but where rows were built from records, such as dialogues, those of the first floor(records * ratio). */
const keepRatioOfRecords = ({ rows, records, path }: LoadedRows, ratio: number): readonly Row[] => {
  if (!records) return keepRatio(rows, ratio, path);
  const kept = keepRatio(Array.from({ length: records.count }), ratio, path).length;
  return rows.filter((_, row) => (records.ofRow[row] ?? 0) < kept);
};

/**
 * The first floor(rows * ratio) rows; all of them where `ratio` is 1 or more.
 *
 * @throws {UserError} if the ratio is not positive or leaves no row
 */
export const keepRatio = <T>(rows: readonly T[], ratio: number, path: string): readonly T[] => {
  if (!(ratio > 0))
    throw new UserError(
      `Cannot use --dataset_ratio ${String(ratio)}: expected a number above 0`,
      "1 takes all rows, 0.1 the first tenth",
    );
  if (ratio >= 1) return rows;
  const kept = rows.slice(0, Math.floor(rows.length * ratio));
  if (kept.length === 0)
    throw new UserError(
      `Cannot use --dataset_ratio ${String(ratio)} with ${path}: found ${String(rows.length)} rows, of which none is left`,
      "Choose a larger ratio",
    );
  return kept;
};
