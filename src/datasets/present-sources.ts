import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { splits, type Split } from "./rows.js";
import type { DataSource } from "./source.js";

/** What names of files say of their split; the publishers' own names are among them. */
const splitNames: Readonly<Record<Split, RegExp>> = {
  train: /^(?:wiki\.)?train[._]/,
  validation: /^(?:wiki\.)?(?:validation|valid|val|dev)[._]/,
  test: /^(?:wiki\.)?test[._]/,
};

/** The folders under the data root in which a source's files lie. */
export const foldersOf = ({ files }: DataSource): readonly string[] => [
  ...new Set(files.flatMap((file) => (file.members ?? [file]).map(({ path }) => dirname(path)))),
];

/** The splits of which there is a file under the root, by the files' names; what is in them is not looked at. */
export const splitsThere = async (root: string, source: DataSource): Promise<readonly Split[]> => {
  const names = await Promise.all(
    foldersOf(source).map((folder) => readdir(join(root, folder)).catch(() => [])),
  );
  return splits.filter((split) => names.flat().some((name) => splitNames[split].test(name)));
};

/** The bytes of a file under the root; undefined where there is none. */
export const bytesThere = async (root: string, path: string): Promise<number | undefined> => {
  const found = await stat(join(root, path)).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
};
