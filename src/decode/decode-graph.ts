import { addDims } from "../core/dim.js";
import { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { AttentionInputs, Model } from "../models/model.js";
import { effectiveWindow, groupedAttention, splitHeads } from "../models/blocks/attention.js";
import {
  accessFrozenWeights,
  initializersOf,
  type FrozenWeights,
} from "../models/weights/frozen-weights.js";
import { plainHooks, type Adapter } from "../peft/adapter.js";
import type { Tensor } from "../runtime/tensor.js";
import type { CacheType } from "./slots.js";
import { maskName, windowsIn } from "./window-mask.js";

/** An adapter that the graph computes with, instead of weights that it was merged into. */
export interface LiveAdapter {
  readonly adapter: Adapter;
  /** By parameter name. */
  readonly values: ReadonlyMap<string, Tensor>;
}

/** The model whose steps the graph computes, and the adapter that it computes beside it. */
export interface DecodeGraphOptions {
  readonly model: Model;
  readonly weights: Pick<FrozenWeights, "tensor" | "typeOf">;
  /** How many positions the rotary tables hold: prompt and new tokens together must stay below. */
  readonly maxPositions: number;
  readonly live?: LiveAdapter | undefined;
  /** Default float32; keys and values are rounded to it when they are written. */
  readonly cacheType?: CacheType | undefined;
  /** Whether new keys and values come out apart, for the host to append; default: they are written into the caches. */
  readonly appends?: boolean | undefined;
}

/** The names of a layer's caches: the same for input and output. */
export const cacheNames = (layer: number): { readonly keys: string; readonly values: string } => ({
  keys: `keys.${String(layer)}`,
  values: `values.${String(layer)}`,
});

/** The output that continues the cache input of this name. */
export const writtenCache = (name: string): string => `${name}.written`;

/** The output with what is to be appended to the cache input of this name. */
export const freshCache = (name: string): string => `${name}.fresh`;

/** Parameters enter the graph under names of their own, apart from the weights'. */
const parameterName = (name: string): string => `param:${name}`;

/** The memory of every tensor that the graph holds: weights, and a live adapter's parameters. */
export const decodeInitializers = (
  g: Graph,
  { weights, live }: Pick<DecodeGraphOptions, "weights" | "live">,
): Readonly<Record<string, Tensor>> => {
  const parameters = new Map(
    [...(live?.values ?? [])].map(([name, tensor]) => [parameterName(name), tensor]),
  );
  return initializersOf(g, { tensor: (name) => parameters.get(name) ?? weights.tensor(name) });
};

/**
 * One graph for prompts and for steps: it feeds `seq` new tokens a prompt, which see what `mask` lets them see.
 *
 * The cache of a layer has a slot for every token so far. New keys and values are written into given slots (in place,
 * where the outputs are the very tensors of the inputs), then the new tokens attend to all slots. Prompts are fed with
 * seq = their length and a causal mask; in a step, the beams of a prompt stand side by side as its seq new tokens, and the
 * mask keeps them apart: each sees its own ancestors. So beams share their prompt, and no cache is re-ordered.
 *
 * With `appends` the caches are only read: the new tokens attend to all slots and, behind them, to themselves, and the host writes their keys
 * and values into the slots. For runtimes that copy a whole cache to change a slot of it.
 *
 * Inputs: `tokens`, `positions` int64 [batch, seq]; `mask` float32 [batch, 1, 1, seq, slots], added to the scores, and one more for each window
 * of the model's layers (maskName); `slots`
 * int64 [batch, kvHeads, seq, 3], the (batch, head, slot) of every new key; `rows` int64 [rows], which of the batch * seq
 * tokens get candidates; `width` int64 [1]; caches of `cacheType` [batch, kvHeads, slots, headDim]. With `appends` there is no `slots`, and
 * masks are [batch, 1, 1, seq, slots + seq].
 * Outputs: `logProbs` float32 and `ids` int32 [rows, width], best first; `normalizers` float32 [rows, 1], log(sum(exp(logit))); the
 * caches, or of each the new [batch, kvHeads, seq, headDim]. Only candidates leave the graph: log softmax is taken as logit - max - log(sum(exp(logit - max))).
 */
export const buildDecodeGraph = ({
  model,
  weights,
  maxPositions,
  live,
  cacheType = "float32",
  appends = false,
}: DecodeGraphOptions): Graph => {
  const g = new Graph();
  const { kvHeads, headDim } = model;
  const inputIds = g.input("tokens", "int64", ["batch", "seq"]);
  const positions = g.input("positions", "int64", ["batch", "seq"]);
  const seen = appends ? addDims("slots", "seq") : "slots";
  const masks = new Map(
    windowsIn(model.windows, maxPositions).map((window) => [
      window,
      g.input(maskName(window), "float32", ["batch", 1, 1, "seq", seen]),
    ]),
  );
  const slots = appends ? undefined : g.input("slots", "int64", ["batch", kvHeads, "seq", 3]);
  const rows = g.input("rows", "int64", ["rows"]);
  const width = g.input("width", "int64", [1]);
  const cacheShape = ["batch", kvHeads, "slots", headDim];

  const frozen = accessFrozenWeights(g, (name) => weights.typeOf(name));
  const shapes = new Map(live?.adapter.parameters.map(({ name, shape }) => [name, shape]));
  const parameter = (name: string): Value =>
    g.weights.get(parameterName(name)) ??
    g.weight(parameterName(name), "float32", shapes.get(name) ?? []);
  const hooks = {
    ...(live ? live.adapter.hooks(g, frozen, parameter) : plainHooks(g, frozen)),
    attend: ({ layer, q, k, v, ...scores }: AttentionInputs): Value => {
      const names = cacheNames(layer);
      const written = (name: string, fresh: Value): Value => {
        const cache = g.input(name, cacheType, cacheShape);
        const added = g.cast(splitHeads(g, fresh, model), cacheType);
        const value = slots ? g.scatterND(cache, slots, added) : g.concat([cache, added], 2);
        if (slots) g.output(writtenCache(name), value);
        else g.output(freshCache(name), added);
        return g.cast(value, "float32");
      };
      const [keys, values] = [written(names.keys, k), written(names.values, v)];
      const mask = masks.get(effectiveWindow(model.windows[layer], maxPositions));
      if (!mask) throw new RangeError(`Cannot build layer ${String(layer)}: it has no mask`);
      return groupedAttention(g, { q, keys, values, mask }, model, scores);
    },
    lastRows: (x: Value): Value => g.gather(x, rows, { axis: 0 }),
  };
  const hidden = model.trunk(g, { inputIds, positions, maxPositions }, hooks);
  const logits = model.logits(g, hidden, hooks); // [rows, vocab]

  const [best, ids] = g.topK(logits, width, "width");
  const max = g.gather(best, g.integers([0]), { axis: 1 }); // [rows, 1]
  const sum = g.reduceSum(g.exp(g.sub(logits, max)), { axes: [-1], keepdims: true });
  const log = g.log(sum);
  g.output("logProbs", g.sub(g.sub(best, max), log));
  g.output("normalizers", g.add(max, log));
  g.output("ids", g.cast(ids, "int32"));
  return g;
};
