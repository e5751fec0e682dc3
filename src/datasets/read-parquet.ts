import { createHash } from "node:crypto";
import { parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { UserError } from "../core/errors.js";
import { readStoredFile } from "../core/text-file.js";
import type { JsonValuesFile } from "../core/json-values.js";
import { nameRow } from "../core/row-names.js";

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
 * The rows of a Parquet file as objects.
 *
 * @throws {UserError} if the file is missing, cut off, or not Parquet
 */
export const readParquetValues = async (path: string): Promise<JsonValuesFile> => {
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
    return {
      values: rows.map((value, i) => ({ place: nameRow(i), value: plain(value) })),
      sha256: createHash("sha256").update(stored).digest("hex"),
    };
  } catch (error) {
    throw new UserError(
      `Cannot read ${path}: found a damaged Parquet file (${error instanceof Error ? error.message : String(error)})`,
      "Fetch the file again",
    );
  }
};
