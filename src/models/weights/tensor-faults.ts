import type { DType } from "../../core/dtype.js";

/** Shapes by tensor name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** `[576, 192]` */
export const shapeText = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

interface FoundTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** How the tensors of a file differ from those that are expected. */
export interface TensorFaults {
  /** A line each: missing, misshapen and mistyped ones in the order of what is expected, then those that are too many. */
  readonly lines: readonly string[];
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly string[];
}

/**
 * Compares the tensors of a file with those that a model or an adapter needs.
 *
 * @param types which dtypes will do, and how a fault names them
 * @param others what a fault says is expected in place of a tensor that is too many
 */
export const compareTensors = (
  expected: Shapes,
  found: ReadonlyMap<string, FoundTensor>,
  {
    types,
    others,
  }: {
    readonly types: { readonly accepts: (dtype: DType) => boolean; readonly words: string };
    readonly others: string;
  },
): TensorFaults => {
  const lines: string[] = [];
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, shape] of expected) {
    const entry = found.get(name);
    if (entry === undefined) {
      missing.push(name);
      lines.push(`"${name}": found nothing, expected ${shapeText(shape)}`);
    } else if (shapeText(entry.shape) !== shapeText(shape)) {
      misshapen.push(name);
      lines.push(`"${name}": found ${shapeText(entry.shape)}, expected ${shapeText(shape)}`);
    } else if (!types.accepts(entry.dtype))
      lines.push(`"${name}": found ${entry.dtype}, expected ${types.words}`);
  }
  const unexpected = [...found.keys()].filter((name) => !expected.has(name));
  for (const name of unexpected)
    lines.push(`"${name}": found ${shapeText(found.get(name)?.shape ?? [])}, expected ${others}`);
  return { lines, missing, unexpected, misshapen };
};

/** The number of the block that a tensor belongs to; undefined outside of all. */
const blockOf = (name: string): number | undefined => {
  const number = /(?:^|\.)(\d+)\./.exec(name)?.[1];
  return number === undefined ? undefined : Number(number);
};

/** How many blocks tensors of these names belong to: the highest number, and one. */
export const blocksOf = (names: Iterable<string>): number => {
  let blocks = 0;
  for (const name of names) blocks = Math.max(blocks, (blockOf(name) ?? -1) + 1);
  return blocks;
};

/** Texts that programs put into the middle of names. */
const insertions = [".default.", ".base_layer.", ".module.", "._orig_mod."];

/** Ways in which a name may differ from another one: what has to be done to the second to get the first, in words. */
const differencesOf = (missing: string, unexpected: string): readonly string[] => {
  const differences: string[] = [];
  if (unexpected.endsWith(`.${missing}`))
    differences.push(`have "${unexpected.slice(0, -missing.length)}" in front`);
  if (missing.endsWith(`.${unexpected}`))
    differences.push(`lack "${missing.slice(0, -unexpected.length)}" in front`);
  if (unexpected.startsWith(`${missing}.`))
    differences.push(`have "${unexpected.slice(missing.length)}" at the end`);
  if (missing.startsWith(`${unexpected}.`))
    differences.push(`lack "${missing.slice(unexpected.length)}" at the end`);
  for (const text of insertions)
    if (unexpected.replace(text, ".") === missing)
      differences.push(`have "${text.slice(0, -1)}" in the middle`);
  return differences;
};

/** Names that are compared with all others, to find what they have in common. */
const samples = 4;

/**
 * What tells the names of the missing tensors from those that are too many, where it is one thing: `21 names lack "model." in
 * front`; else undefined.
 */
export const nameDifference = ({
  missing,
  unexpected,
}: Pick<TensorFaults, "missing" | "unexpected">): string | undefined => {
  const counts = new Map<string, number>();
  const candidates = new Set(
    missing
      .slice(0, samples)
      .flatMap((name) => unexpected.flatMap((other) => differencesOf(name, other))),
  );
  if (candidates.size === 0) return undefined;
  const others = new Set(unexpected);
  for (const difference of candidates) {
    const [, verb = "", text = "", place = ""] =
      /^(have|lack) "(.*)" (?:in the|in|at the) (\w+)$/.exec(difference) ?? [];
    const isAlike = (name: string): boolean => {
      if (place === "middle")
        return [...name.matchAll(/\./g)].some(({ index }) =>
          others.has(`${name.slice(0, index)}${text}${name.slice(index)}`),
        );
      if (verb === "have") return others.has(place === "front" ? text + name : name + text);
      return place === "front"
        ? name.startsWith(text) && others.has(name.slice(text.length))
        : name.endsWith(text) && others.has(name.slice(0, -text.length));
    };
    counts.set(difference, missing.filter(isAlike).length);
  }
  const [[difference = "", count = 0] = []] = [...counts].sort(([, a], [, b]) => b - a);
  const enough = Math.max(2, 0.8 * Math.min(missing.length, unexpected.length));
  return count >= enough ? `${String(count)} names ${difference}` : undefined;
};
