import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { TokenTable } from "./token-table.js";

/**
 * Where encoded texts are kept: $HIRA_CACHE_DIR/tokens, else $XDG_CACHE_HOME/hira/tokens, else ~/.cache/hira/tokens.
 *
 * Everything in it can be made again, so the folder may be deleted at any time.
 */
export const tokenCacheFolder = (
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string => {
  const base =
    environment.HIRA_CACHE_DIR ||
    join(environment.XDG_CACHE_HOME || join(homedir(), ".cache"), "hira");
  return join(base, "tokens");
};

// A file is: magic, number of texts (uint32), number of ids (uint32), lengths (uint32 each), ids (int32 each), and the
// SHA-256 of all that. Little-endian, as every platform of Node 20.
const magic = "hiratok1";
const headerBytes = magic.length + 8;
const digestBytes = 32;

const pathOf = (folder: string, key: string): string => join(folder, `${key}.bin`);

/** The table stored under `key`, or undefined where there is none, or a damaged one, or one of other texts. */
export const readCachedTable = async (
  folder: string,
  key: string,
  texts: number,
): Promise<TokenTable | undefined> => {
  const file = await readFile(pathOf(folder, key)).catch(() => undefined);
  if (file === undefined || file.length < headerBytes + digestBytes) return undefined;
  const body = file.subarray(0, file.length - digestBytes);
  if (!sha256([body]).equals(file.subarray(body.length))) return undefined;
  const [count, idCount] = [body.readUInt32LE(magic.length), body.readUInt32LE(magic.length + 4)];
  const isWhole = body.length === headerBytes + 4 * (count + idCount);
  if (body.toString("latin1", 0, magic.length) !== magic || count !== texts || !isWhole)
    return undefined;
  // A copy, because the bytes in the file's buffer need not be aligned to 4.
  const numbers = new Uint8Array(body.subarray(headerBytes)).buffer;
  return TokenTable.fromLengths(
    new Int32Array(numbers, 4 * count, idCount),
    new Uint32Array(numbers, 0, count),
  );
};

/** Stores a table. Where the folder cannot be written nothing is stored: the cache saves time, a run needs it not. */
export const writeCachedTable = async (
  folder: string,
  key: string,
  table: TokenTable,
): Promise<void> => {
  const header = Buffer.alloc(headerBytes);
  header.write(magic, "latin1");
  header.writeUInt32LE(table.length, magic.length);
  header.writeUInt32LE(table.tokens, magic.length + 4);
  const parts = [header, bytesOf(table.lengths()), bytesOf(table.allIds())];
  try {
    await writeFileAtomically(pathOf(folder, key), [...parts, sha256(parts)]);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
};

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

const sha256 = (parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
