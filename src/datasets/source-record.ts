import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { isNotFound, messageOf, UserError } from "../core/errors.js";
import { isJsonObject, parseJson } from "../core/json.js";

/** What came for one path of the data root. */
export interface RecordedFile {
  /** The publisher's address, whatever mirror gave it. */
  readonly url: string;
  readonly bytes: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
  /** When it came, in UTC. */
  readonly fetched: string;
}

/** By the path under the data root. */
export type SourceRecord = Readonly<Record<string, RecordedFile>>;

/** Where `hira data fetch` records what came: what no table knows is held against it ever after. */
export const recordPath = (root: string): string => join(root, "hira-sources.json");

const isRecorded = (value: unknown): value is RecordedFile =>
  isJsonObject(value) &&
  typeof value.url === "string" &&
  typeof value.bytes === "number" &&
  typeof value.sha256 === "string" &&
  /^[0-9a-f]{64}$/.test(value.sha256) &&
  typeof value.fetched === "string";

/** @throws {UserError} if the record cannot be read, or is none */
export const readSourceRecord = async (root: string): Promise<SourceRecord> => {
  const path = recordPath(root);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return {};
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const value = parseJson(text, path);
  if (!isJsonObject(value) || !Object.values(value).every(isRecorded))
    throw new UserError(
      `Cannot read ${path}: found something else than the record of fetched files, expected url, bytes, sha256 and fetched of each`,
      "Mend it, or remove it: what is fetched then counts as coming for the first time",
    );
  return value as SourceRecord;
};

/** Adds to the record, in the order of paths. @throws {UserError} if it cannot be written */
export const addToSourceRecord = async (root: string, added: SourceRecord): Promise<void> => {
  const all = { ...(await readSourceRecord(root)), ...added };
  const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFileAtomically(recordPath(root), `${JSON.stringify(sorted, undefined, 2)}\n`);
};
