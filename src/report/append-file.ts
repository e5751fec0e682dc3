import { open } from "node:fs/promises";
import { messageOf, UserError } from "../core/errors.js";

/** A file that grows; pieces are in the order of the calls, awaited or not. */
export interface AppendFile {
  /** Hands the piece to the operating system in one write: it outlives the process. */
  append(piece: string | Uint8Array): Promise<void>;
  /** Resolves when every piece so far is on the disk, and outlives a power cut. */
  flush(): Promise<void>;
  /** Flushes and closes. */
  close(): Promise<void>;
}

/**
 * Opens a file to append to it.
 *
 * @param mode "make": made where it is missing; "make new": it must not be there yet
 * @throws {UserError} if it cannot be opened; append and flush throw one if it cannot be written, from then on always
 */
export const openAppendFile = async (
  path: string,
  mode: "make" | "make new" = "make",
): Promise<AppendFile> => {
  const cannotWrite = (error: unknown): UserError =>
    new UserError(
      `Cannot write ${path}: ${messageOf(error)}`,
      "Choose an --output_folder that is writable and has room",
    );
  const file = await open(path, mode === "make" ? "a" : "ax").catch((error: unknown) => {
    throw cannotWrite(error);
  });
  // Each write waits for the one before it, and fails if that one did.
  let last: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    last = last.then(work).catch((error: unknown) => {
      throw error instanceof UserError ? error : cannotWrite(error);
    });
    return last;
  };
  const flush = (): Promise<void> => inTurn(() => file.datasync());
  return {
    append: (piece) => inTurn(() => file.appendFile(piece)),
    flush,
    close: async () => {
      try {
        await flush();
      } finally {
        await file.close();
      }
    },
  };
};
