import { UserError } from "../core/errors.js";
import type { DataRecord, RecordFile } from "./read-records.js";
import { readRecords, stringFields } from "./read-records.js";
import type { LoadedRows } from "./rows.js";

/** The names that a row's context and target have in one of a set's forms. */
export interface PairFields {
  readonly context: string;
  readonly target: string;
  /** Makes a target of the field's text, which by default is only stripped. */
  readonly targetOf?: (text: string) => string;
}

/**
 * The rows of a file that has one of several forms, by the fields of its first row. Targets are stripped of white space, contexts stay.
 *
 * @throws {UserError} if the file is missing or broken, has none of the forms, or a row lacks a field
 */
export const readTextPairs = async (
  path: string,
  forms: readonly PairFields[],
): Promise<LoadedRows> => {
  const file = await readRecords(path);
  return pairsOf(file, formOf(file, forms));
};

/** The rows of a file that has one form. @throws {UserError} with every row that lacks a field */
export const pairsOf = (
  file: RecordFile,
  { context, target, targetOf = (text: string) => text }: PairFields,
): LoadedRows => {
  const rows = stringFields(file, [context, target]).map((record) => ({
    context: record[context] ?? "",
    target: targetOf(record[target] ?? "").trim(),
  }));
  return { rows, droppedInputs: [], path: file.path, sha256: file.sha256 };
};

/** The first form whose fields the first row has. @throws {UserError} if it has none of them */
export const formOf = <Form extends PairFields>(
  { path, records }: { readonly path: string; readonly records: readonly DataRecord[] },
  forms: readonly Form[],
): Form => {
  const [first] = records;
  const form = forms.find(
    ({ context, target }) => first !== undefined && context in first.value && target in first.value,
  );
  if (form) return form;
  const names = Object.keys(first?.value ?? {}).join(", ");
  const known = forms.map(({ context, target }) => `${context} and ${target}`);
  throw new UserError(
    `Cannot read ${path}, ${first?.place ?? "row 1"}: found ${names === "" ? "no fields" : `fields ${names}`}, expected ${
      known.length === 1
        ? (known[0] ?? "")
        : ["those of one of these forms", ...known].join("\n    ")
    }`,
    "Rename the fields, or put the set's own file there",
  );
};
