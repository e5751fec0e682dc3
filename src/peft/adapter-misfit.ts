import { isFloat } from "../core/dtype.js";
import {
  blocksOf,
  compareTensors,
  nameDifference,
  type Shapes,
  type TensorFaults,
} from "../models/weights/tensor-faults.js";
import type { TensorEntry } from "../models/weights/safetensors.js";
import type { AdapterBase, AdapterDescription, AdapterFormat } from "./formats/format.js";

/** Why an adapter's tensors are not those that its config and the model ask for. */
export interface AdapterMisfit {
  /** A line a tensor, as compareTensors has them. */
  readonly lines: readonly string[];
  /** Sizes or layers are another model's. */
  readonly isOfOtherModel: boolean;
  /** What to look at in the config, in words; empty where the config is not at fault. */
  readonly configFields: readonly string[];
  /** What the faults have in common, in a sentence. */
  readonly inCommon: string | undefined;
}

interface Sizes {
  readonly found: number;
  readonly expected: number;
}

/** Where the shapes of misshapen tensors differ: in ranks, which the config says, or in sizes of the model. */
const differingSizes = (
  expected: readonly {
    readonly fileName: string;
    readonly shape: readonly number[];
    readonly ownAxes: readonly number[];
  }[],
  entries: ReadonlyMap<string, TensorEntry>,
  { misshapen }: TensorFaults,
): { readonly ranks: readonly Sizes[]; readonly ofModel: readonly Sizes[] } => {
  const ranks: Sizes[] = [];
  const ofModel: Sizes[] = [];
  const wrong = new Set(misshapen);
  for (const { fileName, shape, ownAxes } of expected) {
    const found = wrong.has(fileName) ? entries.get(fileName)?.shape : undefined;
    if (found?.length !== shape.length) continue;
    for (const [axis, size] of shape.entries())
      if (found[axis] !== size)
        (ownAxes.includes(axis) ? ranks : ofModel).push({
          found: found[axis] ?? 0,
          expected: size,
        });
  }
  return { ranks, ofModel };
};

/** `16 where the model has 8, 24 where it has 12` */
const sizesText = (sizes: readonly Sizes[], owner: string): string =>
  [
    ...new Map(
      sizes.map((size) => [`${String(size.found)} ${String(size.expected)}`, size]),
    ).values(),
  ]
    .slice(0, 4)
    .map(
      ({ found, expected }, i) =>
        `${String(found)} where ${i === 0 ? owner : "it"} has ${String(expected)}`,
    )
    .join(", ");

/**
 * The blocks that tell two models apart: all that is missing lies behind the adapter's last block, or all that is too many behind
 * the model's.
 */
const otherBlocks = (
  { missing, unexpected }: TensorFaults,
  entries: ReadonlyMap<string, TensorEntry>,
  { layers }: Pick<AdapterBase, "layers">,
): number | undefined => {
  const blocks = blocksOf(entries.keys());
  const behind = (names: readonly string[], last: number): boolean =>
    names.length > 0 && names.every((name) => firstBlock(name) >= last);
  if (blocks > layers && missing.length === 0 && behind(unexpected, layers)) return blocks;
  if (blocks > 0 && blocks < layers && unexpected.length === 0 && behind(missing, blocks))
    return blocks;
  return undefined;
};

const firstBlock = (name: string): number => Number(/\.(\d+)\./.exec(name)?.[1] ?? -1);

/**
 * Compares an adapter's tensors with what its config asks for on a model; undefined where they agree.
 */
export const findMisfit = (
  format: AdapterFormat,
  adapter: AdapterDescription,
  base: AdapterBase,
  entries: ReadonlyMap<string, TensorEntry>,
): AdapterMisfit | undefined => {
  const expected = format.tensors(adapter, base);
  const shapes: Shapes = new Map(expected.map(({ fileName, shape }) => [fileName, shape]));
  const found = compareTensors(shapes, entries, {
    types: { accepts: isFloat, words: "a float dtype" },
    others: `no such tensor in ${format.title}`,
  });
  if (found.lines.length === 0) return undefined;
  const { ranks, ofModel } = differingSizes(expected, entries, found);
  const blocks = otherBlocks(found, entries, base);
  const names = nameDifference(found);
  const isNamedOtherwise = names === undefined && blocks === undefined;
  const hasOthers = isNamedOtherwise && found.missing.length + found.unexpected.length > 0;
  const reasons = [
    ...(names === undefined ? [] : [names]),
    ...(blocks === undefined
      ? []
      : [`the adapter has ${String(blocks)} layers, the model ${String(base.layers)}`]),
    ...(ofModel.length === 0
      ? []
      : [`the adapter has sizes of ${sizesText(ofModel, "the model")}`]),
    ...(ranks.length === 0 ? [] : [`the tensors have ranks of ${sizesText(ranks, "the config")}`]),
  ];
  return {
    lines: found.lines,
    isOfOtherModel: blocks !== undefined || ofModel.length > 0,
    configFields: [
      ...(ranks.length > 0 && ofModel.length === 0
        ? ["modules" in adapter ? "its ranks (r, rank_pattern)" : "num_virtual_tokens"]
        : []),
      ...(hasOthers ? ["its layers (target_modules, layers_to_transform, modules_to_save)"] : []),
    ],
    inCommon: reasons.length === 0 ? undefined : `In common: ${reasons.join("; ")}`,
  };
};

/** Whether an adapter's tensors are those of layers that the model has, by the paths in their names. */
export const namesLayersOf = (
  base: AdapterBase,
  entries: ReadonlyMap<string, TensorEntry>,
): boolean =>
  [...entries.keys()].some((name) => base.modules.some(({ path }) => name.includes(`.${path}.`)));
