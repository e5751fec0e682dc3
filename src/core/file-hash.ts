import { createHash, type Hash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { messageOf, UserError } from "./errors.js";

/** What a file was at one moment. */
export interface FileHash {
  readonly bytes: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

const chunkBytes = 1 << 20;

/**
 * The size and SHA-256 of a file's content, read in pieces so that other work goes on in between.
 *
 * @throws {UserError} if the file cannot be read
 */
export const hashFile = async (path: string, signal?: AbortSignal): Promise<FileHash> => {
  const hash = createHash("sha256");
  const bytes = await feedFile(path, hash, signal);
  return { bytes, sha256: hash.digest("hex") };
};

/**
 * Git's id of a file as a blob: SHA-1 of `blob <bytes>`, a NUL and the content, 40 hexadecimal digits.
 *
 * Source: git, Documentation/gitformat-pack.txt and hash-object.
 * @throws {UserError} if the file cannot be read
 */
export const gitBlobOf = async (path: string): Promise<string> => {
  const { size } = await stat(path);
  const hash = createHash("sha1").update(`blob ${String(size)}\0`);
  await feedFile(path, hash);
  return hash.digest("hex");
};

/** Feeds a file's content to a hash. @returns its bytes */
const feedFile = async (path: string, hash: Hash, signal?: AbortSignal): Promise<number> => {
  try {
    const file = await open(path, "r");
    try {
      const buffer = Buffer.allocUnsafe(chunkBytes);
      let bytes = 0;
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, chunkBytes, bytes);
        if (bytesRead === 0) return bytes;
        hash.update(buffer.subarray(0, bytesRead));
        bytes += bytesRead;
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
};
