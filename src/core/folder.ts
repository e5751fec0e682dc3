import { mkdir, readdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { isNotFound, messageOf, UserError } from "./errors.js";

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

/**
 * The names in a folder.
 *
 * @param task the words up to the colon: `Cannot load an adapter from ad`
 * @param expected what the folder should be: "a folder with config.json"
 * @param hint what to do next; a function where it depends on whether a file is there in the folder's place
 * @throws {UserError} if there is none, or it cannot be read
 */
export const listFolder = async (
  path: string,
  {
    task = `Cannot read the folder ${path}`,
    expected = "a folder",
    hint,
  }: {
    readonly task?: string;
    readonly expected?: string;
    readonly hint?: string | ((found: "nothing" | "a file") => string);
  } = {},
): Promise<string[]> => {
  try {
    return await readdir(path);
  } catch (error) {
    const isFile =
      hasCode(error, "ENOTDIR") &&
      (await stat(path).then(
        () => true,
        () => false,
      ));
    const found = isFile
      ? `found a file, expected ${expected}`
      : isNotFound(error)
        ? `found no such folder, expected ${expected.replace(/^a folder/, "one")}`
        : messageOf(error);
    throw new UserError(
      `${task}: ${found}`,
      typeof hint === "function" ? hint(isFile ? "a file" : "nothing") : hint,
    );
  }
};

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Makes a folder with those around it; one that is there will do.
 *
 * mkdir's own `recursive` turns in a circle for ever where a folder cannot hold others, such as /proc (Node 20 to 24).
 * @throws what the system says against it
 */
export const makeFolder = async (path: string): Promise<void> => {
  try {
    await mkdir(path);
  } catch (error) {
    if (await isFolder(path)) return;
    const parent = dirname(path);
    if (!isNotFound(error) || parent === path || (await isFolder(parent))) throw error;
    await makeFolder(parent);
    await mkdir(path).catch(async (fault: unknown) => {
      // Another process may have been faster.
      if (!(await isFolder(path))) throw fault;
    });
  }
};
