import { didYouMean, UserError } from "../core/errors.js";
import type { LinearModule } from "../models/model.js";
import { compilePattern, layerOf } from "./adapter-targets.js";

/**
 * The modules whose path ends with one of the names of --target_modules.
 *
 * Names are split at commas and trimmed. `asWritten` keeps blanks, as the authors' program does (so that of
 * "q_proj, v_proj" only q_proj matches), and asks for one match in all.
 * @throws {UserError} listing the names that match nothing
 */
export const selectTargets = (
  modules: readonly LinearModule[],
  targetModules: string,
  { asWritten = false } = {},
): readonly LinearModule[] => {
  const names = targetModules.split(",").map((name) => (asWritten ? name : name.trim()));
  const matches = (module: LinearModule, name: string) => name !== "" && module.path.endsWith(name);
  const unmatched = names.filter((name) => !modules.some((module) => matches(module, name)));
  if (asWritten ? unmatched.length === names.length : unmatched.length > 0) {
    const known = [...new Set(modules.map(({ path }) => path.split(".").at(-1) ?? path))];
    const suggestions = unmatched
      .map((name) => didYouMean(name, known))
      .filter((text) => text !== undefined);
    throw new UserError(
      `Cannot adapt --target_modules: found ${unmatched.map((name) => JSON.stringify(name)).join(", ")}, which ${unmatched.length === 1 ? "matches" : "match"} no linear layer; expected names out of ${known.join(", ")}`,
      [...suggestions, "Names are matched against the end of a layer's path"].join(" "),
    );
  }
  return modules.filter((module) => names.some((name) => matches(module, name)));
};

/** Layer numbers as --layers takes them: `0-5, 10`. */
export const layersText = (layers: readonly number[]): string => {
  const runs: [first: number, last: number][] = [];
  for (const layer of [...new Set(layers)].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && run[1] === layer - 1) run[1] = layer;
    else runs.push([layer, layer]);
  }
  return runs
    .map(([first, last]) => (first === last ? String(first) : `${String(first)}-${String(last)}`))
    .join(", ");
};

/**
 * The modules of --layers, of a model with so many layers.
 *
 * Source: layers_to_transform of peft 0.21.2.
 * @throws {UserError} on layers that the model lacks, and where no module is left
 */
export const inLayers = (
  modules: readonly LinearModule[],
  layers: readonly number[] | undefined,
  layerCount: number,
): readonly LinearModule[] => {
  if (layers === undefined) return modules;
  const beyond = layers.filter((layer) => layer >= layerCount);
  if (beyond.length > 0)
    throw new UserError(
      `Cannot adapt --layers: found ${layersText(beyond)}, expected layers of the model, which are 0-${String(layerCount - 1)}`,
      "Layers are counted from 0",
    );
  const left = modules.filter(({ path }) => layers.includes(layerOf(path) ?? -1));
  if (left.length === 0)
    throw new UserError(
      `Cannot adapt --layers: found ${layersText(layers)}, in which --target_modules names nothing`,
      `--target_modules names ${modules.map(({ path }) => path).join(", ")}`,
    );
  return left;
};

/**
 * The rank of every module: that of the first pattern of --rank_pattern that the end of its path matches, else undefined.
 *
 * Source: get_pattern_key of peft 0.21.2.
 * @throws {UserError} listing the patterns that match none of `targets`
 */
export const matchRankPattern = (
  rankPattern: ReadonlyMap<string, number>,
  targets: readonly LinearModule[],
): ReadonlyMap<string, number> => {
  const patterns = [...rankPattern].map(
    ([pattern, rank]) => ({ pattern, rank, matches: compilePattern(pattern) }) as const,
  );
  const unmatched = patterns.filter(
    ({ matches }) => !targets.some(({ path }) => matches?.test(path)),
  );
  if (unmatched.length > 0) {
    const names = [...new Set(targets.map(({ path }) => path.split(".").at(-1) ?? path))];
    throw new UserError(
      `Cannot use --rank_pattern: found ${unmatched.map(({ pattern }) => JSON.stringify(pattern)).join(", ")}, which ${unmatched.length === 1 ? "matches" : "match"} none of the adapted layers; expected such as ${names.join(", ")}`,
      [
        ...unmatched
          .map(({ pattern }) => didYouMean(pattern, names))
          .filter((x) => x !== undefined),
        "A pattern is a regular expression for the end of a layer's path, from a dot on",
      ].join(" "),
    );
  }
  const ranks = new Map<string, number>();
  for (const { path } of targets) {
    const found = patterns.find(({ matches }) => matches?.test(path));
    if (found) ranks.set(path, found.rank);
  }
  return ranks;
};
