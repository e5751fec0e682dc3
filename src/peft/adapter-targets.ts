import type { JsonFields } from "../core/json-fields.js";
import type { LinearModule } from "../models/adapter.js";

type Matcher = (path: string) => boolean;

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
  if (value === "all-linear") return () => true;
  if (typeof value === "string") {
    const pattern = compile(`^(?:${value})$`);
    if (pattern) return (path) => pattern.test(path);
  }
  if (isTextList(value))
    return (path) => value.some((target) => path === target || path.endsWith(`.${target}`));
  fields.fault(name, "a list of names, or a regular expression");
  return () => false;
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
  return (path) => {
    const layer = patterns.map((pattern) => pattern?.exec(path)?.[1]).find((n) => n !== undefined);
    return layer !== undefined && layers.includes(Number(layer));
  };
};

/**
 * The linear layers that a peft config adapts: target_modules without exclude_modules, in layers_to_transform.
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
  return modules.filter(({ path }) => isTarget(path) && !isExcluded(path) && isInLayer(path));
};

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
    ([key, number]) => [compile(`^(?:.*\\.)?(?:${key})$`), number as unknown] as const,
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

/**
 * target_modules for a list of adapted modules: the last parts of their paths where these match no other module, else
 * whole paths.
 */
export const namePeftTargets = (
  adapted: readonly string[],
  modules: readonly LinearModule[],
): readonly string[] => {
  const lastPart = (path: string): string => path.slice(path.lastIndexOf(".") + 1);
  const names = new Set(adapted.map(lastPart));
  const matched = modules.filter(({ path }) => names.has(lastPart(path))).length;
  return matched === adapted.length ? [...names] : adapted;
};
