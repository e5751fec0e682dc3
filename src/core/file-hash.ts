import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
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
  try {
    const file = await open(path, "r");
    try {
      const hash = createHash("sha256");
      const buffer = Buffer.allocUnsafe(chunkBytes);
      let bytes = 0;
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, chunkBytes, bytes);
        if (bytesRead === 0) return { bytes, sha256: hash.digest("hex") };
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
