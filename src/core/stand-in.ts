import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { UserError } from "./errors.js";

/** Bytes that tell what stands in a file's place. */
const standInBytes = 512;

/** A file that stands in another one's place. */
export class StandInError extends UserError {}

const lfsPointer =
  /^version https:\/\/(?:git-lfs|hawser)\.github\.com\/spec\/v\d+\b(?:[^]*?\nsize (\d+))?/;
const webPage = /^\s*<(?:!doctype html|html)\b/i;

/**
 * What stands in the place of a file that was not fetched, by its first bytes: a pointer of git-lfs, or a web page about the
 * file. Undefined for any other content.
 *
 * Source: git-lfs, docs/spec.md.
 */
export const standInFault = (
  content: string | Uint8Array,
  path: string,
): StandInError | undefined => {
  const start =
    typeof content === "string"
      ? content.slice(0, standInBytes)
      : Buffer.from(content.subarray(0, standInBytes)).toString("utf8");
  const pointer = lfsPointer.exec(start);
  if (pointer)
    return new StandInError(
      `Cannot read ${path}: found a pointer of git-lfs, expected the file${pointer[1] === undefined ? "" : ` of ${pointer[1]} bytes`} that it stands for`,
      `Fetch the files: git lfs pull, in ${dirname(path)} (before it, once: git lfs install)`,
    );
  if (webPage.test(start))
    return new StandInError(
      `Cannot read ${path}: found a web page, expected the file that it is about`,
      "Fetch the file itself: on huggingface.co its address has /resolve/ where the page's has /blob/",
    );
  return undefined;
};

/** The same, of a file on the disk that is too small to be what it should; undefined where it cannot be read. */
export const findStandIn = async (path: string): Promise<StandInError | undefined> => {
  const file = await open(path, "r").catch(() => undefined);
  if (!file) return undefined;
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(standInBytes), 0, standInBytes, 0);
    return standInFault(buffer.subarray(0, bytesRead), path);
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
};
