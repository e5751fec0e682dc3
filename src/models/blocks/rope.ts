import type { JsonObject } from "../../core/json-file.js";
import { quoteJson } from "../../core/json-file.js";
import { JsonFields, positive, size } from "../../core/json-fields.js";
import { isJsonObject } from "../../core/json.js";

/** How the rotary frequencies are stretched for longer texts; null: not at all. */
export type RopeScaling =
  | null
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

/** What rotary tables are made of. */
export interface RopeConfig {
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Even. */
  readonly headDim: number;
}

/** transformers 4 has rope_theta and rope_scaling at the top, transformers 5 rope_parameters with both. */
export const readRope = (
  raw: JsonObject,
  maxPositionEmbeddings: number,
  faults: string[],
): { ropeTheta: number; ropeScaling: RopeScaling } => {
  const place = (raw.rope_scaling ?? undefined) === undefined ? "rope_parameters" : "rope_scaling";
  const given = raw[place] ?? {};
  if (!isJsonObject(given)) {
    faults.push(`"${place}": found ${quoteJson(given)}, expected an object or null`);
    return { ropeTheta: NaN, ropeScaling: null };
  }
  const fields = new JsonFields(given, `${place}.`, faults);
  const top = new JsonFields(raw, "", faults);
  const ropeTheta =
    fields.value("rope_theta") === undefined
      ? top.optional("rope_theta", positive, 10000)
      : fields.number("rope_theta", positive);
  for (const source of [fields, top]) {
    const rotated = source.value("partial_rotary_factor");
    if (rotated !== undefined && rotated !== 1)
      source.fault("partial_rotary_factor", "1: only whole heads are rotated here");
  }

  const typeField = fields.value("rope_type") === undefined ? "type" : "rope_type";
  const type = fields.value(typeField) ?? "default";
  switch (type) {
    case "default":
      return { ropeTheta, ropeScaling: null };
    case "linear":
      return {
        ropeTheta,
        ropeScaling: { type: "linear", factor: fields.number("factor", positive) },
      };
    case "llama3": {
      const scaling = {
        type: "llama3",
        factor: fields.number("factor", positive),
        lowFreqFactor: fields.number("low_freq_factor", positive),
        highFreqFactor: fields.number("high_freq_factor", positive),
        originalMaxPositionEmbeddings:
          top.value("original_max_position_embeddings") === undefined
            ? fields.optional("original_max_position_embeddings", size, maxPositionEmbeddings)
            : top.number("original_max_position_embeddings", size),
      } as const;
      if (scaling.highFreqFactor <= scaling.lowFreqFactor)
        fields.fault(
          "high_freq_factor",
          `more than low_freq_factor (${String(scaling.lowFreqFactor)})`,
        );
      return { ropeTheta, ropeScaling: scaling };
    }
    default:
      fields.fault(typeField, 'one of "default", "linear", "llama3"');
      return { ropeTheta, ropeScaling: null };
  }
};

/** Inverse frequencies [headDim / 2] before scaling, rounded to float32 after each step as PyTorch does. */
const inverseFrequencies = ({ ropeTheta, headDim }: RopeConfig): number[] =>
  Array.from({ length: headDim / 2 }, (_, i) =>
    Math.fround(1 / Math.fround(ropeTheta ** Math.fround((2 * i) / headDim))),
  );

const scaleFrequency = (frequency: number, scaling: RopeScaling): number => {
  const { fround } = Math;
  if (scaling === null) return frequency;
  const { factor } = scaling;
  if (scaling.type === "linear") return fround(frequency / factor);
  const {
    lowFreqFactor: low,
    highFreqFactor: high,
    originalMaxPositionEmbeddings: length,
  } = scaling;
  // Long waves are stretched, short ones kept, and those between are mixed.
  const wavelength = fround((2 * Math.PI) / frequency);
  if (wavelength > length / low) return fround(frequency / factor);
  if (wavelength < length / high) return frequency;
  const smooth = fround(fround(fround(length / wavelength) - low) / (high - low));
  return fround(
    fround(fround(fround(1 - smooth) * frequency) / factor) + fround(smooth * frequency),
  );
};

/**
 * Rotary tables of the positions 0 ... positions - 1: cos and sin of position * inverse frequency.
 *
 * Frequencies and angles are rounded to float32 where transformers rounds them: at position 8,000 one bit of a frequency
 * moves the cosine by 5e-4. Column i belongs to the elements i and i + headDim / 2 of a head.
 * Source: Su et al., "RoFormer", 2021; llama3 scaling as in Meta's Llama 3.1 release and transformers 5.23.
 * @returns cos and sin, each float32 [positions, headDim / 2]
 */
export const ropeTable = (
  config: RopeConfig,
  positions: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } => {
  const frequencies = inverseFrequencies(config).map((f) => scaleFrequency(f, config.ropeScaling));
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    frequencies.forEach((frequency, i) => {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    });
  }
  return { cos, sin };
};
