import type { FileHandle } from "node:fs/promises";
import { UserError } from "../../core/errors.js";

/** libuv reads at most 2^31 - 1 bytes at once. */
const maxReadBytes = 2 ** 30;

/** Bytes of an open file, in memory of their own. @throws {UserError} if it ends before */
export const readFully = async (
  file: FileHandle,
  byteOffset: number,
  byteLength: number,
  path: string,
): Promise<ArrayBuffer> => {
  const buffer = new ArrayBuffer(byteLength);
  for (let done = 0; done < byteLength;) {
    const part = new Uint8Array(buffer, done, Math.min(maxReadBytes, byteLength - done));
    const { bytesRead } = await file.read(part, 0, part.length, byteOffset + done);
    if (bytesRead === 0)
      throw new UserError(
        `Cannot read ${path}: found its end at byte ${String(byteOffset + done)}, expected ${String(byteLength - done)} bytes more`,
        "The file is being changed by someone else, or was cut off: fetch it again",
      );
    done += bytesRead;
  }
  return buffer;
};
