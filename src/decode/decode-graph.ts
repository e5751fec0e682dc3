import { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/adapter.js";
import { groupedAttention, splitHeads } from "../models/blocks/attention.js";
import type { LlamaConfig } from "../models/llama-config.js";
import { buildLlama, buildLlamaHead } from "../models/llama.js";
import {
  accessFrozenWeights,
  type FrozenWeights,
  type WeightAccess,
} from "../models/weights/frozen-weights.js";

/** How a linear layer computes where it is not y = x weight^T + bias: an adapter that is not merged. */
export type AdaptedLinear = (
  g: Graph,
  x: Value,
  module: LinearModule,
  weights: WeightAccess,
) => Value;

export interface DecodeGraphOptions {
  readonly config: LlamaConfig;
  readonly weights: Pick<FrozenWeights, "tensor">;
  /** How many positions the rotary tables hold: prompt and new tokens together must stay below. */
  readonly maxPositions: number;
  readonly linear?: AdaptedLinear | undefined;
}

/** The names of a layer's caches: the same for input and output. */
export const cacheNames = (layer: number): { readonly keys: string; readonly values: string } => ({
  keys: `keys.${String(layer)}`,
  values: `values.${String(layer)}`,
});

/** The output that continues the cache input of this name. */
export const writtenCache = (name: string): string => `${name}.written`;

/**
 * One graph for prompts and for steps: it feeds `seq` new tokens a prompt, which see what `mask` lets them see.
 *
 * The cache of a layer has a slot for every token so far. New keys and values are written into given slots (in place,
 * where the outputs are the very tensors of the inputs), then the new tokens attend to all slots. Prompts are fed with
 * seq = their length and a causal mask; in a step, the beams of a prompt stand side by side as its seq new tokens, and the
 * mask keeps them apart: each sees its own ancestors. So beams share their prompt, and no cache is re-ordered.
 *
 * Inputs: `tokens`, `positions` int64 [batch, seq]; `mask` float32 [batch, 1, 1, seq, slots], added to the scores; `slots`
 * int64 [batch, kvHeads, seq, 3], the (batch, head, slot) of every new key; `rows` int64 [rows], which of the batch * seq
 * tokens get candidates; `width` int64 [1]; caches float32 [batch, kvHeads, slots, headDim].
 * Outputs: `logProbs` float32 and `ids` int32 [rows, width], best first; the caches.
 * Only candidates leave the graph: log softmax is taken as logit - max - log(sum(exp(logit - max))).
 */
export const buildDecodeGraph = ({
  config,
  weights,
  maxPositions,
  linear,
}: DecodeGraphOptions): Graph => {
  const g = new Graph();
  const { kvHeads, headDim } = config;
  const inputIds = g.input("tokens", "int64", ["batch", "seq"]);
  const positions = g.input("positions", "int64", ["batch", "seq"]);
  const mask = g.input("mask", "float32", ["batch", 1, 1, "seq", "slots"]);
  const slots = g.input("slots", "int64", ["batch", kvHeads, "seq", 3]);
  const rows = g.input("rows", "int64", ["rows"]);
  const width = g.input("width", "int64", [1]);
  const cacheShape = ["batch", kvHeads, "slots", headDim];

  const access = accessFrozenWeights(g, (name) => weights.tensor(name));
  const hooks = {
    ...access,
    linear: (x: Value, module: LinearModule): Value => {
      if (linear) return linear(g, x, module, access);
      const bias = module.bias ? access.weight(`${module.path}.bias`) : undefined;
      return g.linear(x, access.weight(`${module.path}.weight`), bias);
    },
    attend: ({ layer, q, k, v }: Record<"q" | "k" | "v", Value> & { layer: number }): Value => {
      const names = cacheNames(layer);
      const written = (name: string, fresh: Value): Value => {
        const cache = g.input(name, "float32", cacheShape);
        const value = g.scatterND(cache, slots, splitHeads(g, fresh, config));
        g.output(writtenCache(name), value);
        return value;
      };
      const [keys, values] = [written(names.keys, k), written(names.values, v)];
      return groupedAttention(g, { q, keys, values, mask }, config);
    },
    lastRows: (x: Value): Value => g.gather(x, rows, { axis: 0 }),
  };
  const hidden = buildLlama(g, config, { inputIds, positions, maxPositions }, hooks);
  const logits = buildLlamaHead(g, config, hidden, hooks); // [rows, vocab]

  const [best, ids] = g.topK(logits, width, "width");
  const max = g.gather(best, g.integers([0]), { axis: 1 }); // [rows, 1]
  const sum = g.reduceSum(g.exp(g.sub(logits, max)), { axes: [-1], keepdims: true });
  g.output("logProbs", g.sub(g.sub(best, max), g.log(sum)));
  g.output("ids", g.cast(ids, "int32"));
  return g;
};
