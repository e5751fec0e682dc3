import type { Model } from "./model.js";
import type { TensorEntry } from "./weights/safetensors.js";

interface NamedTensors {
  readonly weights: ReadonlyMap<string, TensorEntry>;
  readonly shardOf: ReadonlyMap<string, string>;
}

/**
 * The same tensors by the model's own names: files that were saved without a head leave out the prefix, as the Hub's GPT-2 does
 * ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight").
 *
 * A name is completed where it means nothing as it stands, and the whole name is the model's and not in the files.
 * Source: base_model_prefix in PreTrainedModel.from_pretrained of transformers 5.24.
 */
export const completeNames = (
  model: Pick<Model, "prefix" | "tensors" | "isRedundant">,
  { weights, shardOf }: NamedTensors,
): NamedTensors => {
  const { prefix = "", tensors } = model;
  if (prefix === "") return { weights, shardOf };
  const isKnown = (name: string): boolean => tensors.has(name) || model.isRedundant(name);
  const nameOf = (name: string): string => {
    const whole = `${prefix}${name}`;
    return !isKnown(name) && isKnown(whole) && !weights.has(whole) ? whole : name;
  };
  return {
    weights: new Map(
      [...weights].map(([name, entry]) => [nameOf(name), { ...entry, name: nameOf(name) }]),
    ),
    shardOf: new Map([...shardOf].map(([name, shard]) => [nameOf(name), shard])),
  };
};
