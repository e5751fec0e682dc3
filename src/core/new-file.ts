import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { probeFolder } from "./atomic-file.js";
import { isNotFound, messageOf, UserError, userErrorOfFaults } from "./errors.js";

/** Of a file that is there: whether it may be replaced, or what speaks against it. */
export type MayReplace = (path: string) => Promise<true | string>;

const never: MayReplace = () => Promise.resolve("found a file of that name, expected none");
const always: MayReplace = () => Promise.resolve(true);

interface Fault {
  readonly text: string;
  /** --overwrite would help. */
  readonly taken: boolean;
}

/** Why nothing can be written at `path`, whatever is there; undefined where nothing speaks against it. */
const folderFault = async (path: string): Promise<string | undefined> => {
  // The folders that are missing will be made: only the first one that is there can refuse.
  let folder = dirname(resolve(path));
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    if (!(await stat(folder)).isDirectory()) return `found ${folder} to be no folder`;
    await probeFolder(folder);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
};

/** What would keep a file from being written; undefined where nothing does. */
const faultOf = async (path: string, mayReplace: MayReplace): Promise<Fault | undefined> => {
  const final = (text: string): Fault => ({ text, taken: false });
  try {
    const there = await stat(path);
    if (there.isDirectory()) return final("found a folder, expected a file or nothing");
    if (!there.isFile()) return final("found a device or a pipe, expected a file or nothing");
    const replaces = await mayReplace(path);
    if (replaces !== true) return { text: replaces, taken: true };
  } catch (error) {
    if (!isNotFound(error)) return final(messageOf(error));
  }
  const fault = await folderFault(path);
  return fault === undefined ? undefined : final(fault);
};

/**
 * Checks, before hours of work, that files can be written where a person wants them, and that none is lost by it.
 *
 * @param flag the flag that names them, for the hint
 * @param overwrite whether files that are there may be replaced; or which of them
 * @throws {UserError} naming every path that is taken, or whose folder cannot be written
 */
export const requireNewFiles = async (
  paths: readonly string[],
  { flag, overwrite }: { readonly flag: string; readonly overwrite: boolean | MayReplace },
): Promise<void> => {
  const mayReplace = overwrite === true ? always : overwrite === false ? never : overwrite;
  const faults: (Fault & { readonly path: string })[] = [];
  for (const path of paths) {
    const fault = await faultOf(path, mayReplace);
    if (fault) faults.push({ ...fault, path });
  }
  const [first] = faults;
  if (!first) return;
  const taken = faults.some((fault) => fault.taken);
  const hint = `Choose another ${flag}${taken ? ", or replace what is there with --overwrite" : ""}`;
  if (faults.length === 1) throw new UserError(`Cannot write ${first.path}: ${first.text}`, hint);
  throw userErrorOfFaults(
    "Cannot write these files",
    faults.map(({ path, text }) => `${path}: ${text}`),
    hint,
  );
};

/** As requireNewFiles, for a folder that is not there yet. @throws {UserError} if it could not be made */
export const requireRoomFor = async (path: string, flag: string): Promise<void> => {
  const fault = await folderFault(path);
  if (fault !== undefined)
    throw new UserError(`Cannot write ${path}: ${fault}`, `Choose another ${flag}`);
};
