import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { UserError } from "../core/errors.js";
import { readStoredFile } from "../core/text-file.js";
import type { JsonValuesFile, PlacedValue } from "../core/json-values.js";
import { nameRow } from "../core/row-names.js";
import { shardPaths } from "./parquet-shards.js";

const magic = "PAR1";

/** A value as JSON would have it: whole numbers of 64 bits as numbers where they are exact. */
const plain = (value: unknown): unknown => {
  if (typeof value === "bigint")
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (typeof value === "object" && value !== null && !(value instanceof Date))
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  return value;
};

/**
 * The rows of a Parquet file as objects; of the first of several shards, those of all of them, see shardPaths, with the SHA-256 of their bytes one behind the other.
 *
 * @throws {UserError} if the file or another shard is missing, cut off, or not Parquet
 */
export const readParquetValues = async (path: string): Promise<JsonValuesFile> => {
  const paths = shardPaths(path);
  const missing = paths.filter((shard) => !existsSync(shard));
  if (paths.length > 1 && missing.length > 0)
    throw new UserError(
      `Cannot read ${path}: found ${String(paths.length - missing.length)} of its ${String(paths.length)} shards, expected ${missing
        .slice(0, 3)
        .map((shard) => basename(shard))
        .join(
          ", ",
        )}${missing.length > 3 ? ` and ${String(missing.length - 3)} more` : ""} beside it`,
      "Fetch the missing files too",
    );
  const hash = createHash("sha256");
  const values: PlacedValue[] = [];
  for (const shard of paths) {
    const { stored, rows } = await readOne(shard);
    hash.update(stored);
    for (const [i, value] of rows.entries())
      values.push({
        place: paths.length === 1 ? nameRow(i) : `${basename(shard)}, ${nameRow(i)}`,
        value: plain(value),
      });
  }
  return { values, sha256: hash.digest("hex") };
};

const readOne = async (
  path: string,
): Promise<{ readonly stored: Uint8Array; readonly rows: readonly unknown[] }> => {
  const stored = await readStoredFile(path);
  const begins = stored.subarray(0, 4).toString("latin1") === magic;
  const ends = stored.length >= 12 && stored.subarray(-4).toString("latin1") === magic;
  if (!begins || !ends)
    throw new UserError(
      `Cannot read ${path}: found ${begins ? "no" : "other bytes than"} ${magic} at its ${begins ? "end" : "start"}, expected a Parquet file`,
      begins ? "The file is cut off: fetch it again" : "Name the file by what is in it",
    );
  try {
    const rows = await parquetReadObjects({
      file: {
        byteLength: stored.length,
        // A copy: the buffer of a small file is a part of a larger one.
        slice: (start, end) => Uint8Array.from(stored.subarray(start, end)).buffer,
      },
      compressors,
    });
    return { stored, rows };
  } catch (error) {
    throw new UserError(
      `Cannot read ${path}: found a damaged Parquet file (${error instanceof Error ? error.message : String(error)})`,
      "Fetch the file again",
    );
  }
};
