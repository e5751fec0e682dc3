import type { JsonObject } from "../../core/json-file.js";
import type { RopeScaling } from "../blocks/rope-config.js";

/** The tensors of rope's factors: of llama3 scaling, and both of longrope. */
export const ROPE_FACTORS = "rope_freqs.weight";
/** In rows beyond the original context. */
export const LONG_FACTORS = "rope_factors_long.weight";
/** In all others. */
export const SHORT_FACTORS = "rope_factors_short.weight";

type Llama3Scaling = Extract<RopeScaling, { readonly type: "llama3" }>;

/** What the released Llama 3.1 to 3.3 models have in common; the factor is 8 or 32. */
const common = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** By how much each rotary frequency is divided. Source: generate_extra_tensors of LlamaModel in llama.cpp's convert_hf_to_gguf.py. */
export const ropeFactors = (
  {
    factor,
    lowFreqFactor: low,
    highFreqFactor: high,
    originalMaxPositionEmbeddings: length,
  }: Omit<Llama3Scaling, "type">,
  theta: number,
  pairs: number,
): Float32Array =>
  Float32Array.from({ length: pairs }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** (i / pairs);
    const turns = length / wavelength;
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });

/** rope_scaling of config.json from the factors that stand in a GGUF file in its place; undefined where they are no `llama3` ones. */
export const ropeScalingOf = (factors: Float32Array, theta: number): JsonObject | undefined => {
  const factor = factors.reduce((most, value) => Math.max(most, value), 0);
  const scaling = {
    factor,
    lowFreqFactor: common.low_freq_factor,
    highFreqFactor: common.high_freq_factor,
    originalMaxPositionEmbeddings: common.original_max_position_embeddings,
  };
  const expected = ropeFactors(scaling, theta, factors.length);
  const fits = expected.every((value, i) => Math.abs(value - (factors[i] ?? NaN)) <= 1e-3 * value);
  return fits && factor >= 1 ? { rope_type: "llama3", factor, ...common } : undefined;
};
