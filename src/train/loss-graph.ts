import { multiplyDims } from "../core/dim.js";
import { backward } from "../graph/backward.js";
import { Graph } from "../graph/graph.js";
import { nodeHeights } from "../graph/node-heights.js";
import type { Value } from "../graph/op.js";
import { foldConstants } from "../graph/passes/fold-constants.js";
import { prune } from "../graph/passes/prune.js";
import { recompute } from "../graph/passes/recompute.js";
import { shareSubexpressions } from "../graph/passes/share-subexpressions.js";
import { classesOf, isClassifier } from "../models/classifier.js";
import type { Model, ModelHooks } from "../models/model.js";
import {
  causalMask,
  effectiveWindow,
  groupedAttention,
  paddingMask,
  MASKED,
  splitHeads,
} from "../models/blocks/attention.js";
import { accessFrozenWeights, type WeightType } from "../models/weights/frozen-weights.js";
import { plainHooks, type Adapter } from "../peft/adapter.js";
import {
  attentionDropout,
  moduleDropout,
  type Dropout,
  type DropoutKeys,
} from "../models/blocks/dropout.js";
import { splitPrefix } from "../peft/virtual-tokens.js";

/** The model and adapter whose loss the graph computes, and in how many pieces. */
export interface LossGraphOptions {
  readonly model: Model;
  /** How each frozen tensor is held. */
  readonly typeOf: (name: string) => WeightType;
  /** Undefined: the plain model. */
  readonly adapter: Adapter | undefined;
  /** The columns of the longest batch, virtual tokens not counted. */
  readonly maxPositions: number;
  /** Into how many parts the labelled rows are cut, so that their logits are never all in memory. */
  readonly chunks: number;
  /** Whether gradients are computed and added to buffers. */
  readonly gradients: boolean;
  /** Gradient checkpointing: each layer is computed again in the backward pass. */
  readonly recomputeLayers: boolean;
  /** Training: dropout acts, the adapter's and the model's own. */
  readonly drops?: boolean;
  /** In place of the hidden states' rate of the model's config; 0 drops no attention probabilities either. */
  readonly modelDropout?: number | undefined;
  /** Whether the logits of all positions are an output too. */
  readonly allLogits?: boolean;
  /** Whether the loss of every label is an output too. */
  readonly labelLosses?: boolean;
  /** Whether the logits of the labelled rows are an output too. */
  readonly labelLogits?: boolean;
}

/** The width of the dropout_columns that a graph takes; undefined where it drops nothing. */
export const dropoutWidth = (
  options: Pick<LossGraphOptions, "adapter" | "drops" | "maxPositions" | "model" | "modelDropout">,
): number | undefined => {
  const { adapter, drops = false, model } = options;
  if (!drops) return undefined;
  // Of an embedding nothing is dropped: it has no input but ids.
  const targets = adapter?.targets.filter(({ table }) => table !== "embedding") ?? [];
  const rates = dropoutRates(options);
  const widths = [
    ...(adapter?.drops ? targets.map(({ inFeatures }) => inFeatures) : []),
    ...(rates.hidden > 0 || rates.head > 0 ? [model.hiddenSize] : []),
    ...(rates.attention > 0 ? [columnsOf(options)] : []),
  ];
  return widths.length > 0 ? Math.max(...widths) : undefined;
};

/** The rates of the model's own dropout. */
const dropoutRates = ({
  model,
  modelDropout,
}: Pick<LossGraphOptions, "model" | "modelDropout">): {
  readonly hidden: number;
  readonly attention: number;
  /** In a classifier's head. */
  readonly head: number;
} => ({
  hidden: modelDropout ?? model.dropout ?? 0,
  attention: modelDropout === 0 ? 0 : model.attentionDropout,
  head: isClassifier(model) ? (modelDropout ?? model.classifier.dropout) : 0,
});

/** The columns of the longest batch, virtual tokens counted. */
const columnsOf = ({
  adapter,
  maxPositions,
}: Pick<LossGraphOptions, "adapter" | "maxPositions">): number =>
  maxPositions + (adapter?.virtual?.count ?? 0);

/** The graph's output with the gradient of a parameter. */
export const gradientName = (parameter: string): string => `grad:${parameter}`;
/** The graph's input with the sum of a parameter's gradients so far, to which it adds. */
export const accumulatorName = (parameter: string): string => `sum:${parameter}`;

/** Parameters enter the graph under names of their own: under full fine-tuning they share the weights' names. */
export const parameterName = (parameter: string): string => `param:${parameter}`;

/**
 * The graph of one micro-step: loss = loss_scale * sum over labelled positions of -log p(label).
 *
 * Inputs: input_ids, positions int64 [batch, seq]; columns int64 [seq]; key_bias float32 [batch, seq] (0, or MASKED for
 * padding); label_rows int64 [labels], which rows of [batch * seq] predict a label; label_ids int64 [labels]; loss_scale
 * float32 []; chunk_sizes int64 [chunks] where chunks > 1; every parameter; with gradients, an accumulator a trainable one.
 * Of a model with token types, token_types int64 [batch, seq].
 * Where dropout acts, dropout_rows int32 [batch, seq, 2] and dropout_columns int32 [2, width] (see models/blocks/dropout.ts).
 * Outputs: loss float32 []; if asked logits [batch, seq, vocab], of the labelled rows label_logits [labels, vocab] and
 * label_losses [labels], -log p of each (a classifier has classes in place of the vocabulary); grad:<name> = sum:<name> + gradient (bind both to one tensor).
 *
 * The last layer computes only the labelled rows from its attention on, and logits exist for these alone.
 */
export const buildLossGraph = (options: LossGraphOptions): Graph => {
  const { model, adapter, chunks } = options;
  const g = new Graph();
  const inputIds = g.input("input_ids", "int64", ["batch", "seq"]);
  const positions = g.input("positions", "int64", ["batch", "seq"]);
  const tokenTypes =
    model.tokenTypes > 0 ? g.input("token_types", "int64", ["batch", "seq"]) : undefined;
  const columns = g.input("columns", "int64", ["seq"]);
  const keyBias = g.input("key_bias", "float32", ["batch", "seq"]);
  const labelRows = g.input("label_rows", "int64", ["labels"]);
  const labelIds = g.input("label_ids", "int64", ["labels"]);
  const lossScale = g.input("loss_scale", "float32", []);

  const parameters = new Map(
    adapter?.parameters.map(({ name, shape }) => [
      name,
      g.input(parameterName(name), "float32", shape),
    ]),
  );
  const parameter = (name: string): Value => {
    const value = parameters.get(name);
    if (!value) throw new RangeError(`Cannot find the parameter "${name}"`);
    return value;
  };
  const frozen = accessFrozenWeights(g, options.typeOf);
  const selectRows = (x: Value): Value => g.gather(x, labelRows, { axis: 0 });
  const width = dropoutWidth(options);
  const keys = width === undefined ? undefined : dropoutKeys(g, width, selectRows);
  const rates = dropoutRates(options);
  const hooks = adapter ? adapter.hooks(g, frozen, parameter, keys) : plainHooks(g, frozen);
  const maxPositions = columnsOf(options);
  const prefix =
    adapter?.virtual?.form === "keys-values"
      ? splitPrefix(g, adapter.virtual.rows(g, parameter), model)
      : undefined;
  const prefixLength = prefix ? (adapter?.virtual?.count ?? 0) : 0;
  const masks = new Map<number | undefined, Value>();
  /** What the tokens of a layer see of the batch and of the prefix before it. */
  const maskOf = (layer: number): Value => {
    const window = effectiveWindow(model.windows[layer], maxPositions);
    const known = masks.get(window);
    if (known) return known;
    const own = model.causal
      ? causalMask(g, columns, keyBias, window)
      : paddingMask(g, keyBias, { rows: prefix ? "seq" : 1 });
    const mask = prefix ? g.concat([prefixMask(g, columns, prefixLength, window), own], 4) : own;
    masks.set(window, mask);
    return mask;
  };
  /** Keys or values of the batch, behind those of the prefix. */
  const behindPrefix = (front: Value | undefined, x: Value): Value => {
    const own = splitHeads(g, x, model);
    if (!front) return own;
    const { kvHeads, headDim } = model;
    return g.concat([g.expand(front, ["batch", kvHeads, prefixLength, headDim]), own], 2);
  };
  const attentionDropoutOf = (layer: number): Dropout | undefined => {
    if (!keys || rates.attention === 0) return undefined;
    const slots = prefixLength === 0 ? columns : slotsBehind(g, columns, prefixLength);
    const path = `attention:${String(layer)}`;
    return attentionDropout(g, { ...keys, slots }, { path, rate: rates.attention });
  };
  const lastHidden = (lastRows: ((x: Value) => Value) | undefined): Value =>
    model.trunk(
      g,
      {
        inputIds,
        positions,
        ...(tokenTypes && { tokenTypes }),
        maxPositions,
        recomputeLayers: options.recomputeLayers,
      },
      {
        ...hooks,
        attend: ({ layer, q, k, v, ...scores }) =>
          groupedAttention(
            g,
            {
              q,
              keys: behindPrefix(prefix?.[layer]?.keys, k),
              values: behindPrefix(prefix?.[layer]?.values, v),
              mask: maskOf(layer),
            },
            model,
            { ...scores, dropout: attentionDropoutOf(layer) },
          ),
        ...(lastRows && { lastRows }),
        ...(keys &&
          rates.hidden > 0 && {
            drop: modelDrop(g, keys, rates.hidden, options.modelDropout),
          }),
      },
    );

  let hidden: Value;
  if (options.allLogits) {
    const all = lastHidden(undefined);
    const logits = model.logits(g, all, hooks);
    g.output("logits", g.reshape(logits, ["batch", "seq", classesOf(model)]));
    hidden = selectRows(all);
  } else hidden = lastHidden(selectRows);

  const adaptsHead = adapter?.targets.some(({ table }) => table === "head") ?? false;
  const dropsInHead = keys !== undefined && rates.head > 0;
  const headHooks = {
    ...hooks,
    ...(dropsInHead && { drop: modelDrop(g, keys, rates.head) }),
    keys: adaptsHead || dropsInHead ? keys : undefined,
  };
  const parts = lossesOf(g, model, headHooks, { hidden, labelIds, chunks });
  if (options.labelLogits)
    g.output(
      "label_logits",
      g.concat(
        parts.map(({ logits }) => logits),
        0,
      ),
    );
  if (options.labelLosses)
    g.output(
      "label_losses",
      g.concat(
        parts.map(({ losses }) => losses),
        0,
      ),
    );
  const sum = parts.map((part) => part.sum).reduce((x, y) => g.add(x, y));
  const loss = g.mul(sum, lossScale);
  g.output("loss", loss);
  if (adapter && options.gradients) {
    const trainable = adapter.parameters.filter((spec) => spec.trainable);
    const gradients = backward(
      g,
      loss,
      trainable.map(({ name }) => parameter(name)),
    );
    trainable.forEach(({ name, shape }, i) => {
      const sum = g.input(accumulatorName(name), "float32", shape);
      g.output(
        gradientName(name),
        g.inBackward(() => g.add(sum, gradients[i] as Value)),
      );
    });
  }
  return recompute(foldConstants(shareSubexpressions(prune(g))));
};

/**
 * The parameters that train, in the order in which a loss graph comes to their gradients: those nearest to the loss first, so that the
 * first wrong one of them points at what has made it wrong.
 */
export const gradientOrder = (graph: Graph): readonly string[] => {
  const heights = nodeHeights(graph);
  const prefix = gradientName("");
  return [...graph.outputs]
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, { producer }]) => ({
      name: name.slice(prefix.length),
      height: (producer && heights.get(producer)) ?? 0,
    }))
    .sort((a, b) => a.height - b.height)
    .map(({ name }) => name);
};

/** The model's own dropout, with masks by the names of its places; `override` counts before a place's rate. */
const modelDrop =
  (
    g: Graph,
    keys: DropoutKeys,
    modelRate: number,
    override?: number,
  ): NonNullable<ModelHooks["drop"]> =>
  (x, place, ownRate = modelRate) => {
    const rate = override ?? ownRate;
    if (rate === 0) return x;
    const dropout = moduleDropout(g, keys, { path: `model:${place}`, rate });
    return g.mul(dropout.apply(x), g.scalar(dropout.scale, x.dtype));
  };

/** The mask of the columns of a prefix, which stand before column 0: [batch, 1, 1, seq, length]. */
const prefixMask = (
  g: Graph,
  columns: Value,
  length: number,
  window: number | undefined,
): Value => {
  const shape = ["batch", 1, 1, "seq", length];
  if (window === undefined) return g.zeros("float32", shape);
  const keys = g.integers(Array.from({ length }, (_, i) => i - length + window - 1));
  const isSeen = g.lessOrEqual(g.reshape(columns, ["seq", 1]), g.reshape(keys, [1, length]));
  const row = g.where(isSeen, g.scalar(0, "float32"), g.scalar(MASKED, "float32"));
  return g.expand(g.reshape(row, [1, 1, 1, "seq", length]), shape);
};

/** The slots of a prefix, then those of the columns: int64 [length + seq]. */
const slotsBehind = (g: Graph, columns: Value, length: number): Value =>
  g.concat(
    [g.integers(Array.from({ length }, (_, i) => i)), g.add(columns, g.scalar(length, "int64"))],
    0,
  );

/** The keys of dropout as inputs of the graph, and those of rows that are computed in parts. */
interface RowKeys extends DropoutKeys {
  /** Of all rows, int32 [batch, seq, 2]. */
  readonly queries: Value;
  /** Says that `parts` are the pieces of `x`, which `cut` makes. */
  split(x: Value, parts: readonly Value[], cut: (keys: Value) => readonly Value[]): void;
}

/** Rows keep their keys where only some of them are computed. */
const dropoutKeys = (g: Graph, width: number, selectRows: (x: Value) => Value): RowKeys => {
  const count = multiplyDims("batch", "seq");
  const queries = g.input("dropout_rows", "int32", ["batch", "seq", 2]);
  const all = g.reshape(queries, [count, 2]);
  const ofParts = new Map<Value, Value>();
  const rows = (x: Value): Value =>
    ofParts.get(x) ?? (x.shape[0] === all.shape[0] ? all : selectRows(all));
  return {
    queries,
    columns: g.input("dropout_columns", "int32", [2, width]),
    rows,
    split(x, parts, cut) {
      const keys = cut(rows(x));
      for (const [i, part] of parts.entries()) ofParts.set(part, keys[i] as Value);
    },
  };
};

/** A chunk of the labelled rows: logits [rows, classes], -log p of each label, and the sum of these. */
interface LabelledPart {
  readonly logits: Value;
  readonly losses: Value;
  readonly sum: Value;
}

/** The losses of the labels and their sum, a part a chunk. */
const lossesOf = (
  g: Graph,
  model: Model,
  { keys, ...hooks }: Pick<ModelHooks, "linear" | "drop"> & { readonly keys: RowKeys | undefined },
  {
    hidden,
    labelIds,
    chunks,
  }: { readonly hidden: Value; readonly labelIds: Value; readonly chunks: number },
): readonly LabelledPart[] => {
  const lossOf = (rows: Value, labels: Value): LabelledPart => {
    const logits = model.logits(g, rows, hooks);
    const losses = g.softmaxCrossEntropyLoss(logits, labels);
    return { logits, losses, sum: g.reduceSum(losses, { axes: [0] }) };
  };
  if (chunks === 1) return [lossOf(hidden, labelIds)];
  const sizes = g.input("chunk_sizes", "int64", [chunks]);
  const names = Array.from({ length: chunks }, (_, i) => `chunk${String(i)}`);
  const cut = (x: Value): readonly Value[] => g.splitAtRunTime(x, sizes, names, 0);
  const [rows, labels] = [cut(hidden), cut(labelIds)];
  keys?.split(hidden, rows, cut);
  return rows.map((part, i) => lossOf(part, labels[i] as Value));
};
