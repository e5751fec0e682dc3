import { createReadStream } from "node:fs";
import { messageOf, UserError } from "./errors.js";
import { parseJson } from "./json.js";

const newline = 0x0a;

/** One line of a file, without its line end. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly bytes: Uint8Array;
  /** False for a last line without "\n": whoever wrote it may have been killed in the middle of it. */
  readonly complete: boolean;
}

/**
 * The lines of a file, split at "\n" alone.
 *
 * Node's readline splits at U+2028 too, which JSON text may hold as it stands.
 * @throws {UserError} if the file cannot be read
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  let number = 1;
  let rest: Uint8Array[] = [];
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      const bytes = chunk as Buffer;
      let start = 0;
      for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
        const line = Buffer.concat([...rest, bytes.subarray(start, end)]);
        yield { number: number++, bytes: line, complete: true };
        rest = [];
        start = end + 1;
      }
      if (start < bytes.length) rest.push(bytes.subarray(start));
    }
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  if (rest.length > 0) yield { number, bytes: Buffer.concat(rest), complete: false };
}

/** One value of a JSON Lines file and where it stands. */
export interface JsonLine {
  /** From 1. */
  readonly line: number;
  readonly value: unknown;
}

const isBlank = (bytes: Uint8Array): boolean =>
  bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

/**
 * The values of a JSON Lines file, one at a time; blank lines are passed over, but counted.
 *
 * The jsonlines package is not used here: a line `null` ends its stream with an uncaught error, its errors have no line
 * numbers, and it splits characters of several bytes at the borders of chunks.
 * @param onTorn called with the number of a last line that has no line end and is no JSON; without it that is an error
 * @throws {UserError} if the file cannot be read or a line is not JSON
 */
export async function* readJsonLines(
  path: string,
  onTorn?: (line: number) => void,
): AsyncGenerator<JsonLine> {
  for await (const { number, bytes, complete } of readLines(path)) {
    if (isBlank(bytes)) continue;
    let value: unknown;
    try {
      value = parseJson(decode(bytes, path, number), path, number);
    } catch (error) {
      if (complete || onTorn === undefined) throw error;
      onTorn(number);
      return;
    }
    yield { line: number, value };
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

const decode = (bytes: Uint8Array, path: string, line: number): string => {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new UserError(
      `Cannot read ${path}, line ${String(line)}: found bytes that are not UTF-8, expected JSON in UTF-8`,
    );
  }
};
