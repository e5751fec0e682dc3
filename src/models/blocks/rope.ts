import { multiplyDims } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import type { ModelInputs } from "../model.js";
import type { RopeConfig, RopeScaling } from "./rope-config.js";

const { fround } = Math;

/** base^(2i / dim) for i below dim / 2, rounded to float32 after each step as PyTorch does. */
const powers = (base: number, dim: number): number[] =>
  Array.from({ length: dim / 2 }, (_, i) => fround(base ** fround((2 * i) / dim)));

/** One frequency under llama3's rule: long waves are stretched, short ones kept, and those between are mixed. */
const llama3Frequency = (
  frequency: number,
  scaling: Extract<RopeScaling, { readonly type: "llama3" }>,
): number => {
  const { factor, lowFreqFactor: low, highFreqFactor: high } = scaling;
  const length = scaling.originalMaxPositionEmbeddings;
  const wavelength = fround((2 * Math.PI) / frequency);
  if (wavelength > length / low) return fround(frequency / factor);
  if (wavelength < length / high) return frequency;
  const smooth = fround(fround(fround(length / wavelength) - low) / (high - low));
  return fround(
    fround(fround(fround(1 - smooth) * frequency) / factor) + fround(smooth * frequency),
  );
};

/**
 * Frequencies that turn often within the original length are kept, those that turn seldom are divided by the factor, and between
 * them there is a ramp over the index.
 */
const yarnFrequencies = (
  { ropeTheta, rotaryDim }: RopeConfig,
  scaling: Extract<RopeScaling, { readonly type: "yarn" }>,
): readonly number[] => {
  const { factor, betaFast, betaSlow, truncate, originalMaxPositionEmbeddings: length } = scaling;
  const indexOf = (turns: number): number =>
    (rotaryDim * Math.log(length / (turns * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
  const [fast, slow] = [indexOf(betaFast), indexOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const last = Math.min(truncate ? Math.ceil(slow) : slow, rotaryDim - 1);
  const high = last === low ? last + 0.001 : last;
  return powers(ropeTheta, rotaryDim).map((power, i) => {
    const ramp = Math.min(Math.max(fround(fround(i - fround(low)) / fround(high - low)), 0), 1);
    const kept = fround(1 - ramp);
    const [whole, divided] = [fround(1 / power), fround(1 / fround(factor * power))];
    return fround(fround(divided * fround(1 - kept)) + fround(whole * kept));
  });
};

/**
 * The base that grows with rows longer than max_position_embeddings, in float32 as transformers has it there.
 */
const dynamicBase = (
  { ropeTheta, rotaryDim, maxPositionEmbeddings }: RopeConfig,
  factor: number,
  positions: number,
): number => {
  if (positions <= maxPositionEmbeddings) return ropeTheta;
  const stretch = fround(
    fround(fround(factor * positions) / maxPositionEmbeddings) - fround(factor - 1),
  );
  return fround(ropeTheta * fround(stretch ** (rotaryDim / (rotaryDim - 2))));
};

/** Inverse frequencies [rotaryDim / 2], rounded to float32 after each step as PyTorch does. */
const frequenciesOf = (config: RopeConfig, positions: number): readonly number[] => {
  const { ropeTheta, ropeScaling: scaling, rotaryDim } = config;
  const inverse = (base: number): readonly number[] =>
    powers(base, rotaryDim).map((power) => fround(1 / power));
  switch (scaling?.type) {
    case undefined:
      return inverse(ropeTheta);
    case "linear":
      return inverse(ropeTheta).map((frequency) => fround(frequency / scaling.factor));
    case "dynamic":
      return inverse(dynamicBase(config, scaling.factor, positions));
    case "llama3":
      return inverse(ropeTheta).map((frequency) => llama3Frequency(frequency, scaling));
    case "yarn":
      return yarnFrequencies(config, scaling);
    case "longrope": {
      const isLong = positions > scaling.originalMaxPositionEmbeddings;
      const factors = isLong ? scaling.longFactor : scaling.shortFactor;
      return powers(ropeTheta, rotaryDim).map((power, i) =>
        fround(1 / fround(fround(factors[i] ?? NaN) * power)),
      );
    }
  }
};

/**
 * Rotary tables of the positions 0 ... positions - 1: cos and sin of position * inverse frequency, times the scaling's factor.
 *
 * Frequencies and angles are rounded to float32 where transformers rounds them: at position 8,000 one bit of a frequency
 * moves the cosine by 5e-4. Column i belongs to the elements i and i + rotaryDim / 2 of a head. The kinds `dynamic` and
 * `longrope` depend on the length of a row: here on `positions`, for all of the table.
 * Source: Su et al., "RoFormer", 2021; modeling_rope_utils.py of transformers 5.24.
 * @returns cos and sin, each float32 [positions, rotaryDim / 2]
 */
export const ropeTable = (
  config: RopeConfig,
  positions: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } => {
  const frequencies = frequenciesOf(config, positions);
  const { ropeScaling } = config;
  const factor = ropeScaling && "attentionFactor" in ropeScaling ? ropeScaling.attentionFactor : 1;
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    frequencies.forEach((frequency, i) => {
      const angle = fround(position * frequency);
      cos[position * half + i] = fround(Math.cos(angle)) * factor;
      sin[position * half + i] = fround(Math.sin(angle)) * factor;
    });
  }
  return { cos, sin };
};

/** Turns heads that lie side by side, [rows, heads * headDim], by their rows' positions: [batch, seq, heads * headDim]. */
export const rotaryTurn = (
  g: Graph,
  config: RopeConfig & { readonly headDim: number },
  { positions, maxPositions }: Pick<ModelInputs, "positions" | "maxPositions">,
): ((x: Value, heads: number) => Value) => {
  const { headDim, rotaryDim } = config;
  const [batch, seq] = positions.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const { cos, sin } = ropeTable(config, maxPositions);
  const table = (data: Float32Array): Value =>
    g.constant("float32", [maxPositions, rotaryDim / 2], data);
  const [cosTable, sinTable] = [table(cos), table(sin)];
  const rowPositions = g.reshape(positions, [rows, 1]);
  // As rows of one column each: ONNX Runtime refuses more columns than the tables have positions, whatever their positions are, and
  // the beams of a decoding step are columns that share a position.
  const turn = (x: Value, width: number): Value =>
    g.rotaryEmbedding(g.reshape(x, [rows, 1, width]), rowPositions, cosTable, sinTable);
  return (x, heads) => {
    const whole = [batch, seq, heads * headDim];
    if (rotaryDim === headDim) return g.reshape(turn(x, heads * headDim), whole);
    const parts = [rotaryDim, headDim - rotaryDim];
    const [first, rest] = g.split(g.reshape(x, [rows, heads, headDim]), parts, 2) as [Value, Value];
    const turned = g.reshape(turn(first, heads * rotaryDim), [rows, heads, rotaryDim]);
    return g.reshape(g.concat([turned, rest], 2), whole);
  };
};
