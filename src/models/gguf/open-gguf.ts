import { basename, dirname, extname, join } from "node:path";
import { existsSync, statSync } from "node:fs";
import { UserError, userErrorOfFaults } from "../../core/errors.js";
import { readGguf, type GgufFile, type GgufMetadata, type GgufTensor } from "./read-gguf.js";

/** Whether a path names a GGUF file, be it there or not; a folder of that name is none. */
export const isGgufPath = (path: string): boolean =>
  extname(path).toLowerCase() === ".gguf" &&
  statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;

/** A model in one GGUF file or in several. */
export interface GgufModel {
  /** Of the first file, which has those of the model. */
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Names of the files within their folder, in order. */
  readonly files: readonly string[];
}

const shardName = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i;
const shardHint = "Put all parts of the model into one folder, under the names that they had";

const splitCount = ({ metadata }: GgufFile): number => {
  const count = metadata.get("split.count");
  return typeof count === "number" ? count : 1;
};

/** The paths of all parts, in order. @throws {UserError} on a name that is no part's, and naming the parts that are missing */
const partPaths = (path: string, count: number): readonly string[] => {
  const [, stem, , total, end] = shardName.exec(basename(path)) ?? [];
  if (stem === undefined || Number(total) !== count)
    throw new UserError(
      `Cannot load ${path}: found one of ${String(count)} parts under another name, expected NAME-00001-of-${String(count).padStart(5, "0")}.gguf`,
      shardHint,
    );
  const paths = Array.from({ length: count }, (_, i) =>
    join(dirname(path), `${stem}-${String(i + 1).padStart(5, "0")}-of-${total ?? ""}${end ?? ""}`),
  );
  const faults = paths
    .filter((part) => !existsSync(part))
    .map((part) => `${basename(part)}: found no such file, expected it beside the others`);
  if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${path}`, faults, shardHint);
  return paths;
};

/** The most parts of a model that llama.cpp's five digits can number. */
const mostParts = 99_999;

/**
 * Reads the header of a GGUF file, and of all parts of a split model where the file is one of them.
 *
 * Source: llama-gguf-split of llama.cpp, whose keys split.no, split.count and split.tensors.count these are.
 * @throws {UserError} as readGguf; if parts are missing, of another split, or hold one tensor twice
 */
export const openGguf = async (path: string): Promise<GgufModel> => {
  const given = await readGguf(path);
  const count = splitCount(given);
  if (count <= 1)
    return { metadata: given.metadata, tensors: given.tensors, files: [basename(path)] };
  if (!Number.isInteger(count) || count > mostParts)
    throw new UserError(
      `Cannot load ${path}: found split.count ${String(count)}, expected a count`,
    );
  const paths = partPaths(path, count);
  const faults: string[] = [];
  const tensors = new Map<string, GgufTensor>();
  const parts: GgufFile[] = [];
  for (const [i, part] of paths.entries()) {
    const file = await readGguf(part);
    parts.push(file);
    const number = file.metadata.get("split.no");
    if (splitCount(file) !== count || number !== i)
      faults.push(
        `${basename(part)}: found part ${String(Number(number) + 1)} of ${String(splitCount(file))}, expected part ${String(i + 1)} of ${String(count)}`,
      );
    for (const [name, tensor] of file.tensors) {
      if (tensors.has(name)) faults.push(`"${name}": found in two parts, expected in one`);
      tensors.set(name, tensor);
    }
  }
  const expected = given.metadata.get("split.tensors.count");
  if (typeof expected === "number" && expected !== tensors.size)
    faults.push(
      `found ${String(tensors.size)} tensors in all parts, expected ${String(expected)} (split.tensors.count)`,
    );
  if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${path}`, faults, shardHint);
  const metadata = parts[0]?.metadata ?? given.metadata;
  return { metadata, tensors, files: paths.map((part) => basename(part)) };
};
