import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { AttentionInputs, Model } from "../models/model.js";
import {
  blockedAttention,
  cutIntoBlocks,
  type BlockPlan,
} from "../models/blocks/attention-blocks.js";
import {
  causalMask,
  effectiveWindow,
  groupedAttention,
  MASKED,
  paddingMask,
  splitHeads,
} from "../models/blocks/attention.js";
import {
  attentionDropout,
  type AttentionDropoutKeys,
  type Dropout,
} from "../models/blocks/dropout.js";

/** Keys and values of one layer's prefix, [1, kvHeads, length, headDim]. */
interface Prefix {
  readonly keys: Value;
  readonly values: Value;
}

/** What the attention of a loss graph is made from. */
export interface LossAttentionOptions {
  readonly model: Model;
  /** The columns of the longest batch, virtual tokens counted. */
  readonly maxPositions: number;
  /** int64 [seq]: 0, 1, ... */
  readonly columns: Value;
  /** float32 [batch, seq]: 0, or MASKED for padding. */
  readonly keyBias: Value;
  /** By layer, what stands before column 0; undefined: nothing. */
  readonly prefix: readonly Prefix[] | undefined;
  readonly prefixLength: number;
  readonly plan: BlockPlan;
  /** Whether the probabilities of blocks are made again in the backward pass. */
  readonly recomputes: boolean;
  readonly gradients: boolean;
  /** Undefined: none of the probabilities is dropped. */
  readonly dropout:
    (Pick<AttentionDropoutKeys, "queries" | "columns"> & { readonly rate: number }) | undefined;
}

/**
 * Attention of a batch to itself and to the prefix before it: whole, or where the plan has several blocks, a block of queries at a time.
 *
 * In blocks it takes the graph's inputs block_sizes and, with gradients, zero.
 */
export const lossAttention = (
  g: Graph,
  options: LossAttentionOptions,
): ((inputs: AttentionInputs) => Value) =>
  options.plan.count === 1 ? wholeAttention(g, options) : attentionInBlocks(g, options);

/** One value a layer's window and what else is in the key. */
const shared = <T>(): ((key: string, make: () => T) => T) => {
  const known = new Map<string, T>();
  return (key, make) => {
    const value = known.get(key) ?? make();
    known.set(key, value);
    return value;
  };
};

/** The queries and keys whose mask is asked for, int64 [rows] and [columns]; keyBias [batch, columns]. */
interface Seen {
  readonly queries: Value;
  readonly columns: Value;
  readonly keyBias: Value;
}

/** What queries see of the batch and of the prefix before it: [batch, 1, 1, rows or 1, length + columns]. */
const maskOf = (
  g: Graph,
  { model, prefix, prefixLength }: LossAttentionOptions,
  { queries, columns, keyBias }: Seen,
  window: number | undefined,
): Value => {
  const rows = queries.shape[0] ?? 0;
  const own = model.causal
    ? causalMask(g, columns, keyBias, { window, of: queries })
    : paddingMask(g, keyBias, { rows: prefix ? rows : 1 });
  return prefix ? g.concat([prefixMask(g, queries, prefixLength, window), own], 4) : own;
};

const dropoutOf = (
  g: Graph,
  { dropout, prefixLength }: LossAttentionOptions,
  { queries, columns }: { readonly queries: Value; readonly columns: Value },
  layer: number,
): Dropout | undefined => {
  if (!dropout) return undefined;
  const slots = prefixLength === 0 ? columns : slotsBehind(g, columns, prefixLength);
  return attentionDropout(
    g,
    { queries, columns: dropout.columns, slots },
    { path: `attention:${String(layer)}`, rate: dropout.rate },
  );
};

/** The prefix of a layer, for every row of the batch. */
const frontOf = (
  g: Graph,
  { model, prefix, prefixLength, keyBias }: LossAttentionOptions,
  layer: number,
): Prefix | undefined => {
  const front = prefix?.[layer];
  if (!front) return undefined;
  const shape = [keyBias.shape[0] ?? 0, model.kvHeads, prefixLength, model.headDim];
  return { keys: g.expand(front.keys, shape), values: g.expand(front.values, shape) };
};

const wholeAttention = (
  g: Graph,
  options: LossAttentionOptions,
): ((inputs: AttentionInputs) => Value) => {
  const { model, maxPositions, columns, keyBias, dropout } = options;
  const masks = shared<Value>();
  return ({ layer, q, k, v, ...scores }) => {
    const window = effectiveWindow(model.windows[layer], maxPositions);
    const front = frontOf(g, options, layer);
    const behind = (which: keyof Prefix, x: Value): Value => {
      const own = splitHeads(g, x, model);
      return front ? g.concat([front[which], own], 2) : own;
    };
    const mask = masks(String(window), () =>
      maskOf(g, options, { queries: columns, columns, keyBias }, window),
    );
    const inputs = { q, keys: behind("keys", k), values: behind("values", v), mask };
    return groupedAttention(g, inputs, model, {
      ...scores,
      dropout: dropout && dropoutOf(g, options, { queries: dropout.queries, columns }, layer),
    });
  };
};

const attentionInBlocks = (
  g: Graph,
  options: LossAttentionOptions,
): ((inputs: AttentionInputs) => Value) => {
  const { model, maxPositions, plan, recomputes, dropout } = options;
  const blocks = cutIntoBlocks(g, plan, g.input("block_sizes", "int64", [plan.count]));
  const zero = options.gradients ? g.input("zero", "float32", []) : undefined;
  const pieces = {
    columns: blocks.cut(options.columns, 0),
    keyBias: blocks.cut(options.keyBias, 1),
    dropped: dropout && blocks.cut(dropout.queries, 1),
  };
  const piece = (which: "columns" | "keyBias", block: number): Value =>
    pieces[which][block] as Value;
  /** What lies along the keys that a block's queries see. */
  const along = (which: "columns" | "keyBias", block: number, first: number): Value =>
    model.causal
      ? g.concat(pieces[which].slice(first, block + 1), which === "columns" ? 0 : 1)
      : options[which];
  const masks = shared<Value>();
  return ({ layer, q, k, v, ...scores }) => {
    const window = effectiveWindow(model.windows[layer], maxPositions);
    return blockedAttention(
      g,
      { q, keys: splitHeads(g, k, model), values: splitHeads(g, v, model) },
      model,
      {
        ...scores,
        ...{ blocks, causal: model.causal, window, recomputes, zero },
        front: frontOf(g, options, layer),
        maskOf: (block, first) =>
          masks([window, block].join(), () => {
            const seen = {
              queries: piece("columns", block),
              columns: along("columns", block, first),
              keyBias: along("keyBias", block, first),
            };
            return maskOf(g, options, seen, window);
          }),
        dropoutOf: (block, first) =>
          dropoutOf(
            g,
            options,
            {
              queries: pieces.dropped?.[block] ?? options.columns,
              columns: along("columns", block, first),
            },
            layer,
          ),
      },
    );
  };
};

/** The mask of the columns of a prefix, which stand before column 0: [batch, 1, 1, rows, length]. */
const prefixMask = (
  g: Graph,
  queries: Value,
  length: number,
  window: number | undefined,
): Value => {
  const rows = queries.shape[0] ?? 0;
  const shape = ["batch", 1, 1, rows, length];
  if (window === undefined) return g.zeros("float32", shape);
  const keys = g.integers(Array.from({ length }, (_, i) => i - length + window - 1));
  const isSeen = g.lessOrEqual(g.reshape(queries, [rows, 1]), g.reshape(keys, [1, length]));
  const row = g.where(isSeen, g.scalar(0, "float32"), g.scalar(MASKED, "float32"));
  return g.expand(g.reshape(row, [1, 1, 1, rows, length]), shape);
};

/** The slots of a prefix, then those of the columns: int64 [length + seq]. */
const slotsBehind = (g: Graph, columns: Value, length: number): Value =>
  g.concat(
    [g.integers(Array.from({ length }, (_, i) => i)), g.add(columns, g.scalar(length, "int64"))],
    0,
  );
