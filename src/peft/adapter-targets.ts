import type { JsonFields } from "../core/json-fields.js";
import type { LinearModule } from "../models/model.js";

type Matcher = (module: Pick<LinearModule, "path" | "table">) => boolean;

/** A regular expression of the config, anchored at its end only where peft does so; undefined if it is not one. */
const compile = (source: string): RegExp | undefined => {
  try {
    return new RegExp(source);
  } catch {
    return undefined;
  }
};

const isTextList = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

/** peft matches a text as a whole regular expression, and a list against the end of a path, at a dot. */
const matcherOf = (fields: JsonFields, name: string): Matcher => {
  const value = fields.value(name);
  if (value === undefined) return () => false;
  if (typeof value === "string" && value.toLowerCase() === "all-linear")
    return ({ table }) => table === undefined;
  if (typeof value === "string") {
    const pattern = compile(`^(?:${value})$`);
    if (pattern) return ({ path }) => pattern.test(path);
  }
  if (isTextList(value))
    return ({ path }) => value.some((target) => path === target || path.endsWith(`.${target}`));
  fields.fault(name, "a list of names, or a regular expression");
  return () => false;
};

/** The number of the layer that a module stands in, as peft finds it: the first number between dots; undefined outside of all. */
export const layerOf = (path: string): number | undefined => {
  const layer = /^.*?\.[^.]*\.(\d+)\./.exec(path)?.[1];
  return layer === undefined ? undefined : Number(layer);
};

const layerMatcher = (fields: JsonFields): Matcher => {
  const value = fields.value("layers_to_transform");
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return () => true;
  const layers: unknown[] = Array.isArray(value) ? value : [value];
  const given = fields.value("layers_pattern") ?? [];
  const names = typeof given === "string" ? [given] : given;
  const patterns = isTextList(names)
    ? (names.length === 0 ? ["[^.]*"] : names).map((name) =>
        compile(`(?:^|\\.)${name}\\.(\\d+)\\.`),
      )
    : [undefined];
  if (!layers.every(Number.isSafeInteger)) fields.fault("layers_to_transform", "layer numbers");
  if (patterns.includes(undefined)) fields.fault("layers_pattern", "a name or a list of names");
  return ({ path }) => {
    const layer = patterns.map((pattern) => pattern?.exec(path)?.[1]).find((n) => n !== undefined);
    return layer !== undefined && layers.includes(Number(layer));
  };
};

/**
 * The modules that a peft config adapts: target_modules without exclude_modules, in layers_to_transform. "all-linear" is without
 * embedding and head.
 *
 * Source: check_target_module_exists of peft 0.21.2.
 * @param fields of adapter_config.json; gets a fault for each field that cannot be read
 */
export const peftTargets = (
  fields: JsonFields,
  modules: readonly LinearModule[],
): readonly LinearModule[] => {
  if (fields.value("target_modules") === undefined)
    fields.fault("target_modules", "a list of names, or a regular expression");
  const isTarget = matcherOf(fields, "target_modules");
  const isExcluded = matcherOf(fields, "exclude_modules");
  const isInLayer = layerMatcher(fields);
  return modules.filter((module) => isTarget(module) && !isExcluded(module) && isInLayer(module));
};

/** A pattern of rank_pattern or alpha_pattern: a regular expression for the end of a path, from a dot on; undefined if it is none. */
export const compilePattern = (pattern: string): RegExp | undefined =>
  compile(`^(?:.*\\.)?(?:${pattern})$`);

/**
 * A number of each module: that of the first pattern that the end of its path matches, else the default.
 *
 * Source: get_pattern_key of peft 0.21.2; used for rank_pattern and alpha_pattern.
 */
export const peftPattern = (
  fields: JsonFields,
  name: string,
  fallback: number,
): ((path: string) => number) => {
  const value = fields.value(name) ?? {};
  const patterns = Object.entries(value).map(
    ([key, number]) => [compilePattern(key), number as unknown] as const,
  );
  const isValid = patterns.every(
    ([pattern, number]) => pattern && typeof number === "number" && number > 0,
  );
  if (typeof value !== "object" || !isValid)
    fields.fault(name, "an object of module names and numbers above 0");
  return (path) => {
    const found = patterns.find(([pattern]) => pattern?.test(path));
    return found ? Number(found[1]) : fallback;
  };
};

/** What the config says of a list of adapted modules. */
export interface PeftTargets {
  readonly target_modules: readonly string[];
  /** Null for all layers. */
  readonly layers_to_transform: readonly number[] | null;
}

/**
 * The fields that name a list of adapted modules and no other of `modules`: the last parts of their paths, with the layers
 * that they stand in where these are not all; whole paths where that would match more.
 */
export const namePeftTargets = (
  adapted: readonly string[],
  modules: readonly LinearModule[],
): PeftTargets => {
  const lastPart = (path: string): string => path.slice(path.lastIndexOf(".") + 1);
  const names = new Set(adapted.map(lastPart));
  const named = modules.map(({ path }) => path).filter((path) => names.has(lastPart(path)));
  if (named.length === adapted.length)
    return { target_modules: [...names], layers_to_transform: null };
  const layers = new Set(adapted.map(layerOf));
  const inLayers = named.filter((path) => layers.has(layerOf(path)));
  const numbers = [...layers].filter((layer) => layer !== undefined).sort((a, b) => a - b);
  return inLayers.length === adapted.length && numbers.length === layers.size
    ? { target_modules: [...names], layers_to_transform: numbers }
    : { target_modules: adapted, layers_to_transform: null };
};
