import { stat } from "node:fs/promises";
import { hashFile } from "./file-hash.js";
import { startWorker } from "./start-worker.js";

/** Bytes from which on a thread of its own, which takes some 50 ms to start, is worth it. */
const worthAThread = 64 * 2 ** 20;

/**
 * Starts to hash files while other work goes on, on a thread of its own where they are large. A thread that nobody waits for does not
 * keep the process from ending.
 *
 * @returns what waits for it: the SHA-256 of each file, in their order, as hashFile gives it, with its errors
 */
export const hashInBackground = async (
  paths: readonly string[],
  { threadFrom = worthAThread }: { readonly threadFrom?: number } = {},
): Promise<() => Promise<readonly string[]>> => {
  const hashHere = async (): Promise<readonly string[]> => {
    const hashes: string[] = [];
    for (const path of paths) hashes.push((await hashFile(path)).sha256);
    return hashes;
  };
  let bytes = 0;
  for (const path of paths) bytes += (await stat(path).catch(() => ({ size: 0 }))).size;
  if (bytes < threadFrom) return hashHere;
  const worker = startWorker(new URL("./hash-worker.js", import.meta.url), { workerData: paths });
  worker.unref();
  const done = new Promise<readonly string[] | undefined>((resolve) => {
    worker.once("message", resolve);
    // An error does not cross threads as what it was: it is met again here.
    worker.once("error", () => {
      resolve(undefined);
    });
    worker.once("exit", () => {
      resolve(undefined);
    });
  });
  return async () => {
    worker.ref();
    return (await done) ?? (await hashHere());
  };
};
