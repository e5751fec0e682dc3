import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { UserError } from "./errors.js";

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MiB`;

/**
 * Checks before the work that a disk has room for a file. Nothing is checked where the file system does not say.
 *
 * @param bytes of the file, all of which are new: a file that is there is replaced when the new one is whole
 * @throws {UserError} if it has not
 */
export const requireFreeSpace = async (
  path: string,
  bytes: number,
  hint: string,
): Promise<void> => {
  let folder = dirname(resolve(path));
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  const free = await statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Infinity,
  );
  if (bytes > free)
    throw new UserError(
      `Cannot write ${path}: found ${mib(free)} free on its disk, expected room for ${mib(bytes)}`,
      hint,
    );
};
