import type { JsonObject } from "../../core/json-file.js";

/** What the released Llama 3.1 to 3.3 models have in common; the factor is 8 or 32. */
const common = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** By how much each rotary frequency is divided. */
const factorsOf = (factor: number, theta: number, pairs: number): readonly number[] =>
  Array.from({ length: pairs }, (_, i) => {
    const { low_freq_factor: low, high_freq_factor: high } = common;
    const wavelength = 2 * Math.PI * theta ** (i / pairs);
    const turns = common.original_max_position_embeddings / wavelength;
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });

/**
 * rope_scaling of config.json from the factors that stand in a GGUF file in its place; undefined where they are no `llama3` ones.
 *
 * Source: generate_extra_tensors of LlamaModel in llama.cpp's convert_hf_to_gguf.py.
 */
export const ropeScalingOf = (factors: Float32Array, theta: number): JsonObject | undefined => {
  const factor = factors.reduce((most, value) => Math.max(most, value), 0);
  const expected = factorsOf(factor, theta, factors.length);
  const fits = expected.every((value, i) => Math.abs(value - (factors[i] ?? NaN)) <= 1e-3 * value);
  return fits && factor >= 1 ? { rope_type: "llama3", factor, ...common } : undefined;
};
