import { linesOfFaults, UserError } from "../core/errors.js";
import { readJsonValues, type PlacedValue } from "../core/json-values.js";
import { describeJson, isJsonObject } from "../core/json.js";
import { readParquetValues } from "./read-parquet.js";
import { readTableValues, tableForm } from "./read-table.js";

/** The file endings that readRecords knows, in the order in which a split's file is looked for. */
export const recordFileEndings = [
  ...[".json", ".jsonl", ".json.gz", ".jsonl.gz"],
  ...[".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"],
] as const;

/** An object of a data file, and its place there. */
export interface DataRecord {
  /** `row 3` of an array or of Parquet, `line 4` of other forms, all from 1: where error messages point; see PlacedValue. */
  readonly place: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The objects of a data file, in its order. */
export interface RecordFile {
  readonly path: string;
  readonly records: readonly DataRecord[];
  /** SHA-256 of the file as stored (of the compressed bytes for .gz), 64 hexadecimal digits. */
  readonly sha256: string;
}

const readValues = (
  path: string,
): Promise<{ readonly values: readonly PlacedValue[]; readonly sha256: string }> => {
  if (path.endsWith(".parquet")) return readParquetValues(path);
  return tableForm(path) === undefined ? readJsonValues(path) : readTableValues(path);
};

/**
 * Reads a file of objects. What is in it says which form it has, not its ending: a JSON array, JSON Lines (blank lines are
 * passed over), or objects one behind the other; either packed with gzip. Three forms go by their ending: .csv and .tsv (with .gz
 * or without), see readTableValues, and .parquet.
 *
 * @throws {UserError} if the file is missing, is damaged, is not JSON (with the line), holds something else than
 *   objects (with every row, up to ten), or holds none
 */
export const readRecords = async (path: string): Promise<RecordFile> => {
  const { values, sha256 } = await readValues(path);
  if (values.length === 0)
    throw new UserError(
      `Cannot use ${path}: found no rows, expected at least one`,
      "Fill the file, or choose another data set",
    );
  const records: DataRecord[] = [];
  const faults: string[] = [];
  for (const { place, value } of values) {
    if (isJsonObject(value)) records.push({ place, value });
    else faults.push(`${place}: found ${describeJson(value)}, expected an object`);
  }
  throwFaults(path, faults);
  return { path, records, sha256 };
};

/**
 * Throws if there are faults: the first in the message, further ones below it, each with its place; see linesOfFaults.
 *
 * @throws {UserError}
 */
export const throwFaults = (path: string, faults: readonly string[], hint?: string): void => {
  const [first, ...others] = linesOfFaults(faults);
  if (first !== undefined)
    throw new UserError(
      [`Cannot read ${path}, ${first}`, ...others.map((line) => `  ${line}`)].join("\n"),
      hint,
    );
};

/**
 * The named fields of every record, which must be strings.
 *
 * @throws {UserError} if a field is missing or not a string: every such row, up to ten, with the fields it has
 */
export const stringFields = <Field extends string>(
  { path, records }: RecordFile,
  fields: readonly Field[],
): Readonly<Record<Field, string>>[] => {
  const faults: string[] = [];
  const rows = records.map(({ place, value }) => {
    const missing = fields.filter((field) => typeof value[field] !== "string");
    if (missing.length > 0) {
      const names = Object.keys(value);
      const wrong = missing.filter((field) => value[field] !== undefined);
      const found =
        wrong.length > 0
          ? wrong.map((field) => `${field} as ${describeJson(value[field])}`).join(" and ")
          : names.length > 0
            ? `fields ${names.join(", ")}`
            : "no fields";
      faults.push(`${place}: found ${found}, expected strings in ${fields.join(" and ")}`);
    }
    return value as Readonly<Record<Field, string>>;
  });
  throwFaults(path, faults, `Every row needs ${fields.map((f) => `"${f}"`).join(" and ")}`);
  return rows;
};
