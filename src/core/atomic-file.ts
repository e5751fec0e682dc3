import { randomUUID } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { open, readdir, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { messageOf, UserError } from "./errors.js";
import { makeFolder } from "./folder.js";
import { isProcessAlive } from "./process-alive.js";

/** What to throw where writing has failed: a fault of the folder as an error for the person, what another source threw as it is. */
export const writeFault = (error: unknown, path: string, hint: string): unknown =>
  error instanceof Error && "syscall" in error
    ? new UserError(`Cannot write ${path}: ${messageOf(error)}`, hint)
    : error;

/**
 * Writes a file so that a reader sees the old content or the new, never a part: beside, synced, renamed.
 *
 * `chunks` are written in order; the folder is made where it is missing. What a killed process has left of the same file goes.
 * @throws {UserError} if the folder cannot be written; what the iteration over `chunks` throws is passed on
 */
export const writeFileAtomically = async (
  path: string,
  chunks: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> => {
  const folder = dirname(path);
  const beside = join(folder, `.${basename(path)}.${String(process.pid)}.tmp`);
  try {
    await makeFolder(folder);
    await removeLeftovers(path);
    const file = await open(beside, "w");
    try {
      if (typeof chunks === "string" || chunks instanceof Uint8Array) await file.writeFile(chunks);
      else for await (const chunk of chunks) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw writeFault(error, path, "Choose a folder that is writable and has room");
  }
};

/** Removes what writers of a file that no longer run have left beside it. A folder that cannot be listed can still be written. */
const removeLeftovers = async (path: string): Promise<void> => {
  const [folder, start] = [dirname(path), `.${basename(path)}.`];
  for (const name of await readdir(folder).catch((): string[] => [])) {
    const pid = name.startsWith(start)
      ? /^(\d+)\.tmp$/.exec(name.slice(start.length))?.[1]
      : undefined;
    if (pid !== undefined && !isProcessAlive(Number(pid)))
      await rm(join(folder, name), { force: true }).catch(() => undefined);
  }
};

/** Syncs a folder's entries, so that a rename in it survives a power cut. Not every file system can; then nothing. */
export const syncFolder = async (folder: string): Promise<void> => {
  const handle = await open(folder, constants.O_RDONLY).catch(() => undefined);
  if (!handle) return;
  await handle.sync().catch(() => undefined);
  await handle.close();
};

/**
 * Lets `write` fill a hidden folder beside `folder`, which is new or empty, and renames it: all of it is there, or nothing.
 *
 * @param hint what to do where it cannot be written
 * @throws {UserError} if it cannot be written; what `write` throws is passed on
 */
export const writeFolderAtomically = async (
  folder: string,
  write: (begun: string) => Promise<void>,
  hint: string,
): Promise<void> => {
  const target = resolve(folder);
  const begun = join(dirname(target), `.${basename(target)}.begun`);
  try {
    await rm(begun, { recursive: true, force: true });
    await makeFolder(begun);
    await write(begun);
    await syncFolder(begun);
    await rmdir(target).catch(() => undefined);
    await rename(begun, target);
    await syncFolder(dirname(target));
  } catch (error) {
    await rm(begun, { recursive: true, force: true }).catch(() => undefined);
    throw writeFault(error, folder, hint);
  }
};

/**
 * Makes a file in a folder and removes it again: some file systems grant all rights and then refuse.
 *
 * @throws what the system says against it
 */
export const probeFolder = async (folder: string): Promise<void> => {
  const path = join(folder, `.hira.${String(process.pid)}.${randomUUID()}`);
  await (await open(path, "wx")).close();
  await rm(path);
};

/** @throws {UserError} if `folder` cannot be made or written; leaves an empty folder behind */
export const requireWritableFolder = async (
  folder: string,
  hint = "Choose another --output_folder",
): Promise<void> => {
  try {
    await makeFolder(folder);
    await probeFolder(folder);
  } catch (error) {
    throw new UserError(`Cannot write to ${folder}: ${messageOf(error)}`, hint);
  }
};

/** Makes and removes a probe in a folder, or in the nearest one above it that is there. */
const probeNearest = async (folder: string): Promise<void> => {
  let nearest = resolve(folder);
  while (!existsSync(nearest) && nearest !== dirname(nearest)) nearest = dirname(nearest);
  await probeFolder(nearest);
};

/**
 * As requireWritableFolder, before the work: leaves nothing behind, so that work which is refused makes no empty folder.
 *
 * @throws {UserError} if `folder` can neither be written nor made
 */
export const requireFolderToBe = async (
  folder: string,
  hint = "Choose another --output_folder",
): Promise<void> => {
  try {
    await probeNearest(folder);
  } catch (error) {
    throw new UserError(`Cannot write to ${folder}: ${messageOf(error)}`, hint);
  }
};

/**
 * Finds out before the work whether a file can be written at its end: makes and removes a probe in the file's folder, or in the nearest
 * folder above it that is there. Leaves nothing behind.
 *
 * @throws {UserError} if it cannot
 */
export const requireWritablePath = async (path: string, hint: string): Promise<void> => {
  try {
    await probeNearest(dirname(resolve(path)));
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${messageOf(error)}`, hint);
  }
};
