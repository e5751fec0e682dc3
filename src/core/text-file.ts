import { constants } from "node:buffer";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { linesOfFaults, messageOf, UserError } from "./errors.js";
import { standInFault } from "./stand-in.js";

/** A file's text, without a byte order mark. */
export interface TextFile {
  readonly text: string;
  /** SHA-256 of the file as stored (of the compressed bytes for .gz), 64 hexadecimal digits. */
  readonly sha256: string;
}

/** The bytes of a file. @throws {UserError} if it cannot be read, or a pointer or a web page stands in for it */
export const readStoredFile = async (path: string): Promise<Buffer> => {
  let stored: Buffer;
  try {
    stored = await readFile(path);
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const standIn = standInFault(stored, path);
  if (standIn) throw standIn;
  return stored;
};

/**
 * Reads a file of text; what is packed with gzip is unpacked.
 *
 * @throws {UserError} if the file is missing, is damaged, or is not text
 */
export const readTextFile = async (path: string): Promise<TextFile> => {
  const stored = await readStoredFile(path);
  const isPacked = path.endsWith(".gz") || (stored[0] === 0x1f && stored[1] === 0x8b);
  return {
    text: decodeText(isPacked ? await unzip(stored, path) : stored, path),
    sha256: createHash("sha256").update(stored).digest("hex"),
  };
};

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

/** UTF-8, or what its byte order mark says. */
const decodeText = (bytes: Uint8Array, path: string): string => {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe
      ? "utf-16le"
      : first === 0xfe && second === 0xff
        ? "utf-16be"
        : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (error) {
    const name = encoding.toUpperCase();
    // Longer than a string can be, V8 says; the bytes may be fine.
    const tooLong =
      error instanceof Error && "code" in error && error.code === "ERR_STRING_TOO_LONG";
    if (tooLong || bytes.length > constants.MAX_STRING_LENGTH)
      throw new UserError(
        `Cannot read ${path}: found ${String(bytes.length)} bytes of text, expected at most ${String(constants.MAX_STRING_LENGTH)}`,
        "Cut the file into smaller ones",
      );
    const [first = `found bytes that are not ${name}`, ...others] = linesOfFaults(
      encoding === "utf-8" ? linesNotUtf8(bytes) : [],
    );
    throw new UserError(
      [
        `Cannot read ${path}${first.startsWith("line") ? "," : ":"} ${first}`,
        ...others.map((fault) => `  ${fault}`),
      ].join("\n"),
      "Save the file as UTF-8",
    );
  }
};

/** The lines that are not UTF-8, as faults: a file of mixed encodings has some. */
const linesNotUtf8 = (bytes: Uint8Array): readonly string[] => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const faults: string[] = [];
  for (let [start, line] = [0, 1]; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    try {
      decoder.decode(bytes.subarray(start, end));
    } catch {
      faults.push(`line ${String(line)}: found bytes that are not UTF-8`);
    }
    start = end + 1;
  }
  return faults;
};
