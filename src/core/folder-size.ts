import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** What a folder holds, with those below it. */
export interface FolderSize {
  readonly files: number;
  readonly bytes: number;
}

/** Files and bytes below a folder, links not followed and not counted; nothing where there is no such folder, or none that may be read. */
export const folderSize = async (path: string): Promise<FolderSize> => {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  let [files, bytes] = [0, 0];
  for (const entry of entries) {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) {
      const below = await folderSize(inside);
      files += below.files;
      bytes += below.bytes;
    } else if (entry.isFile()) {
      files++;
      bytes += (await lstat(inside).catch(() => undefined))?.size ?? 0;
    }
  }
  return { files, bytes };
};
