import type { Model } from "../models/model.js";
import { bakeVirtualTokens } from "../peft/bake-virtual-tokens.js";
import { createVirtualAdapter } from "../peft/virtual-tokens.js";
import type { LiveAdapter } from "./decode-graph.js";

/** The adapter with its virtual tokens themselves in place of the encoder that makes them, if it has one. */
export const bakeLiveAdapter = async (live: LiveAdapter, model: Model): Promise<LiveAdapter> => {
  const { adapter, values } = live;
  const { method, options, virtual } = adapter;
  if (method.kind !== "virtual" || !virtual || virtual.baked) return live;
  return {
    adapter: createVirtualAdapter(method, options, model, { baked: true }),
    values: await bakeVirtualTokens(adapter, values),
  };
};

/** Keys and values in front of a prompt's own. */
export interface Prefix {
  /** Slots that they take. */
  readonly length: number;
  /** Keys of layer 0, its values, keys of layer 1, ...: each [kvHeads, length, headDim]. */
  readonly layers: readonly Float32Array[];
}

/** The prefix of a table [length, layers * (key, value) * kvHeads * headDim]; see splitPrefix. */
export const prefixOf = (
  table: Float32Array,
  { layers, kvHeads, headDim }: Pick<Model, "layers" | "kvHeads" | "headDim">,
): Prefix => {
  const width = 2 * layers * kvHeads * headDim;
  const length = table.length / width;
  return {
    length,
    layers: Array.from({ length: 2 * layers }, (_, part) => {
      const values = new Float32Array(kvHeads * length * headDim);
      for (let head = 0; head < kvHeads; head++)
        for (let row = 0; row < length; row++) {
          const from = row * width + (part * kvHeads + head) * headDim;
          values.set(table.subarray(from, from + headDim), (head * length + row) * headDim);
        }
      return values;
    }),
  };
};
