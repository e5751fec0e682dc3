import type { Model } from "./model.js";
import type { TensorEntry } from "./weights/safetensors.js";

interface NamedTensors {
  readonly weights: ReadonlyMap<string, TensorEntry>;
  readonly shardOf: ReadonlyMap<string, string>;
}

/** What transformers calls tensors that conversions of TensorFlow's checkpoints name otherwise. Source: its _fix_state_dict_key_on_load. */
const currentName = (name: string): string =>
  name
    .replace(/LayerNorm\.gamma$/, "LayerNorm.weight")
    .replace(/LayerNorm\.beta$/, "LayerNorm.bias");

/**
 * The same tensors by the model's own names: files that were saved without a head leave out the prefix, as some on the Hub do
 * ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight").
 *
 * Of old files, gamma and beta of a LayerNorm are its weight and bias. A name is completed where it means nothing as it stands, and the whole name is the model's and not in the files.
 * Source: base_model_prefix in PreTrainedModel.from_pretrained of transformers 5.24.
 */
export const completeNames = (
  model: Pick<Model, "prefix" | "tensors" | "isRedundant">,
  { weights, shardOf }: NamedTensors,
): NamedTensors => {
  const { prefix = "", tensors } = model;
  const isKnown = (name: string): boolean => tensors.has(name) || model.isRedundant(name);
  const nameOf = (stored: string): string => {
    const name = isKnown(stored) ? stored : currentName(stored);
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
