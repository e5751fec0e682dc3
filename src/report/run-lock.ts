import { readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { isProcessAlive } from "../core/process-alive.js";
import { messageOf, UserError } from "../core/errors.js";
import { isJsonObject } from "../core/json.js";

const lockName = ".running.json";

/** The process that a lock names, if it may still be running on this machine. */
const livingOwner = async (path: string): Promise<number | undefined> => {
  let owner: unknown;
  try {
    owner = JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
  if (!isJsonObject(owner) || owner.host !== hostname() || typeof owner.pid !== "number")
    return undefined;
  if (owner.pid === process.pid) return undefined;
  return isProcessAlive(owner.pid) ? owner.pid : undefined;
};

/**
 * Marks a run folder as this process's, so that no other one goes on with a run that is still running.
 *
 * The mark of a process that has been killed is taken over. Resolves to a function that takes the mark off.
 * @throws {UserError} if a living process of this machine has the folder, or it cannot be written
 */
export const lockRunFolder = async (runFolder: string): Promise<() => Promise<void>> => {
  const path = join(runFolder, lockName);
  const owner = await livingOwner(path);
  if (owner !== undefined)
    throw new UserError(
      `Cannot go on in ${runFolder}: found process ${String(owner)} still at work on it, expected a run that has stopped`,
      `Stop that process first; if it is another program by now, remove ${path}`,
    );
  try {
    await writeFile(path, `${JSON.stringify({ host: hostname(), pid: process.pid })}\n`);
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${messageOf(error)}`);
  }
  return () => rm(path, { force: true });
};
