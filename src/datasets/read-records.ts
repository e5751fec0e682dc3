import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { messageOf, UserError } from "../core/errors.js";
import { describeJson, isJsonObject, parseJson } from "../core/json.js";

/** The file endings that readRecords knows, in the order in which a split's file is looked for. */
export const recordFileEndings = [".json", ".jsonl", ".json.gz", ".jsonl.gz"] as const;

export interface DataRecord {
  /** `row 3` of an array (from 0), `line 4` of JSON Lines (from 1): where error messages point. */
  readonly place: string;
  readonly value: Readonly<Record<string, unknown>>;
}

export interface RecordFile {
  readonly path: string;
  readonly records: readonly DataRecord[];
  /** SHA-256 of the file as stored (of the compressed bytes for .gz), 64 hexadecimal digits. */
  readonly sha256: string;
}

// An error message stays readable however many rows are wrong.
const maxListed = 10;

/**
 * Reads a file of objects: a JSON array (.json) or JSON Lines (.jsonl; blank lines are passed over), either with .gz.
 *
 * @throws {UserError} if the file is missing, is damaged, is not JSON (with the line), holds something else than
 *   objects (with every row, up to ten), or holds none
 */
export const readRecords = async (path: string): Promise<RecordFile> => {
  let stored: Buffer;
  try {
    stored = await readFile(path);
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const sha256 = createHash("sha256").update(stored).digest("hex");
  const text = decodeText(path.endsWith(".gz") ? await unzip(stored, path) : stored, path);
  const isJsonLines = /\.jsonl(\.gz)?$/.test(path);
  const found = isJsonLines ? parseLines(text, path) : parseArray(text, path);
  if (found.length === 0)
    throw new UserError(
      `Cannot use ${path}: found no rows, expected at least one`,
      "Fill the file, or choose another data set",
    );
  const records: DataRecord[] = [];
  const faults: string[] = [];
  for (const { place, value } of found) {
    if (isJsonObject(value)) records.push({ place, value });
    else faults.push(`${place}: found ${describeJson(value)}, expected an object`);
  }
  throwFaults(path, faults);
  return { path, records, sha256 };
};

/**
 * Throws if there are faults: the first in the message, further ones below it, each with its place.
 *
 * @throws {UserError}
 */
export const throwFaults = (path: string, faults: readonly string[], hint?: string): void => {
  if (faults.length === 0) return;
  const listed = faults.slice(0, maxListed).map((fault, i) => (i === 0 ? fault : `  ${fault}`));
  const rest = faults.length - listed.length;
  throw new UserError(
    `Cannot read ${path}, ${listed.join("\n")}${rest > 0 ? `\n  and ${String(rest)} more` : ""}`,
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

interface FoundValue {
  readonly place: string;
  readonly value: unknown;
}

const parseArray = (text: string, path: string): FoundValue[] => {
  const value = parseJson(text, path);
  if (!Array.isArray(value))
    throw new UserError(
      `Cannot read ${path}: found ${describeJson(value)}, expected an array of objects`,
      "Name a file with one object a line .jsonl",
    );
  return value.map((item: unknown, row) => ({ place: `row ${String(row)}`, value: item }));
};

const parseLines = (text: string, path: string): FoundValue[] =>
  text
    .split("\n")
    .flatMap((line, i) =>
      line.trim() === ""
        ? []
        : [{ place: `line ${String(i + 1)}`, value: parseJson(line, path, i + 1) }],
    );

const unzip = async (stored: Buffer, path: string): Promise<Buffer> => {
  try {
    return await promisify(gunzip)(stored);
  } catch (error) {
    throw new UserError(
      `Cannot unpack ${path}: ${messageOf(error)}, expected a whole gzip file`,
      "Fetch the file again",
    );
  }
};

const decodeText = (bytes: Uint8Array, path: string): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`Cannot read ${path}: found bytes that are not UTF-8`);
  }
};
