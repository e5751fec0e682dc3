import { open } from "node:fs/promises";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { stringify } from "jsonlines";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { readJsonLines } from "../core/json-lines.js";
import { describeJson, isJsonObject } from "../core/json.js";
import { openAppendFile } from "./append-file.js";

/** A JSON Lines file that grows by one row at a time. Rows are in the order of the calls. */
export interface JsonlAppender<Row extends object> {
  /** Hands one row to the operating system, in one write: it outlives the process, and no reader sees half of it. */
  append(row: Row): Promise<void>;
  /** Resolves when every row so far is on the disk, and outlives a power cut. */
  flush(): Promise<void>;
  /** Flushes and closes; the appender is of no use after it. */
  close(): Promise<void>;
}

/**
 * Opens a JSON Lines file to append to it; a missing one is made.
 *
 * Of a file that is there already, a torn last line is cut off, and rows that `keep` refuses are dropped: a run that
 * goes on from step 40 writes rows 41 and on again.
 * @throws {UserError} if the file cannot be written, or another line than the last is broken
 */
export const openJsonlAppender = async <Row extends object>(
  path: string,
  keep: (row: JsonObject) => boolean = () => true,
): Promise<JsonlAppender<Row>> => {
  await mendJsonl(path, keep);
  const file = await openAppendFile(path);
  return {
    append: (row) => file.append(`${JSON.stringify(row)}\n`),
    flush: () => file.flush(),
    close: () => file.close(),
  };
};

/** Makes an existing file end in a whole line and hold no row that `keep` refuses; writes only if something changes. */
const mendJsonl = async (path: string, keep: (row: JsonObject) => boolean): Promise<void> => {
  const handle = await open(path, "r").catch(() => undefined);
  if (handle === undefined) return;
  const rows: JsonObject[] = [];
  let isWhole: boolean;
  try {
    const { size } = await handle.stat();
    const lastByte = Buffer.alloc(1);
    if (size > 0) await handle.read(lastByte, 0, 1, size - 1);
    isWhole = size === 0 || lastByte.toString() === "\n";
  } finally {
    await handle.close();
  }
  for await (const row of readJsonlObjects(path, () => undefined)) {
    if (keep(row)) rows.push(row);
    else isWhole = false;
  }
  if (!isWhole) await writeJsonl(path, rows);
};

/**
 * The rows of a JSON Lines file whose every line is an object.
 *
 * @param onTorn called with the number of a torn last line; without it that is an error
 * @throws {UserError} naming the line that is no JSON object
 */
export async function* readJsonlObjects(
  path: string,
  onTorn?: (line: number) => void,
): AsyncGenerator<JsonObject> {
  for await (const { line, value } of readJsonLines(path, onTorn)) {
    if (!isJsonObject(value))
      throw new UserError(
        `Cannot read ${path}, line ${String(line)}: found ${describeJson(value)}, expected an object`,
      );
    yield value;
  }
}

/**
 * Writes objects, one a line, as a whole file: a reader sees all rows or the file that was there before.
 *
 * For files of our own form; NaN and Infinity become null. output.jsonl has Python's form, see output-jsonl.ts.
 * @throws {UserError} if the file cannot be written; what `rows` throws is passed on
 */
export const writeJsonl = async (
  path: string,
  rows: Iterable<object> | AsyncIterable<object>,
): Promise<void> => {
  const toBytes = new Transform({
    writableObjectMode: true,
    transform: (line: string, _encoding, done) => done(null, Buffer.from(line)),
  });
  let writing: Promise<void> | undefined;
  try {
    await pipeline(rows, stringify(), toBytes, (lines: AsyncIterable<Uint8Array>) => {
      writing = writeFileAtomically(path, lines);
      return writing;
    });
  } finally {
    // When a row throws, the pipeline rejects before the file begun beside is gone.
    await writing?.catch(() => undefined);
  }
};
