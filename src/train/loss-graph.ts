import { multiplyDims } from "../core/dim.js";
import { backward } from "../graph/backward.js";
import { Graph } from "../graph/graph.js";
import { nodeHeights } from "../graph/node-heights.js";
import type { Value } from "../graph/op.js";
import { dropJoints } from "../graph/passes/drop-joints.js";
import { foldConstants } from "../graph/passes/fold-constants.js";
import { prune } from "../graph/passes/prune.js";
import { recompute } from "../graph/passes/recompute.js";
import { shareSubexpressions } from "../graph/passes/share-subexpressions.js";
import { classesOf, isClassifier } from "../models/classifier.js";
import type { Model, ModelHooks } from "../models/model.js";
import { planBlocks, scoreCount, type BlockPlan } from "../models/blocks/attention-blocks.js";
import { accessFrozenWeights, type WeightType } from "../models/weights/frozen-weights.js";
import { plainHooks, type Adapter } from "../peft/adapter.js";
import { moduleDropout, type DropoutKeys } from "../models/blocks/dropout.js";
import { splitPrefix } from "../peft/virtual-tokens.js";
import { lossAttention } from "./loss-attention.js";

/** The model and adapter whose loss the graph computes, and in how many pieces. */
export interface LossGraphOptions {
  readonly model: Model;
  /** How each frozen tensor is held. */
  readonly typeOf: (name: string) => WeightType;
  /** Undefined: the plain model. */
  readonly adapter: Adapter | undefined;
  /** The columns of the longest batch, virtual tokens not counted. */
  readonly maxPositions: number;
  /** The rows of the largest batch; undefined: nobody knows, and scores of long rows are made again in the backward pass. */
  readonly maxRows?: number | undefined;
  /** The queries of one block of attention, in place of what planBlocks chooses. */
  readonly blockRows?: number | undefined;
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

/** How attention is cut into blocks; see the graph's block_sizes. */
export const planOfBlocks = (
  options: Pick<LossGraphOptions, "adapter" | "blockRows" | "maxPositions">,
): BlockPlan => planBlocks(columnsOf(options), options.blockRows);

/** Up to here, the probabilities of attention in blocks are kept for the backward pass: making them again takes some 5 % of a step. */
const KEPT_BYTES = 512 * 1024 ** 2;

const recomputesScores = (options: LossGraphOptions): boolean => {
  const { model, maxRows = Infinity } = options;
  const scores = scoreCount(planOfBlocks(options), columnsOf(options), model.causal);
  return 4 * scores * maxRows * model.heads * model.layers > KEPT_BYTES;
};

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
 * float32 []; chunk_sizes int64 [chunks] where chunks > 1; block_sizes int64 [blocks], where attention is cut into blocks (planOfBlocks), and
 * with gradients zero float32 [], which is 0; every parameter; with gradients, an accumulator a trainable one.
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
  const tokens = columnsOf(options) * (options.maxRows ?? 1);
  const hooks = adapter ? adapter.hooks(g, frozen, parameter, keys, tokens) : plainHooks(g, frozen);
  const maxPositions = columnsOf(options);
  const prefix =
    adapter?.virtual?.form === "keys-values"
      ? splitPrefix(g, adapter.virtual.rows(g, parameter), model)
      : undefined;
  const attend = lossAttention(g, {
    ...{ model, maxPositions, columns, keyBias, prefix },
    prefixLength: prefix ? (adapter?.virtual?.count ?? 0) : 0,
    plan: planOfBlocks(options),
    recomputes: recomputesScores(options),
    gradients: options.gradients,
    dropout: keys && rates.attention > 0 ? { ...keys, rate: rates.attention } : undefined,
  });
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
        attend,
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
      const gradient = gradients[i] as Value;
      const add = (): Value => g.add(sum, gradient);
      g.output(
        gradientName(name),
        gradient.producer ? g.inPlaceOf(gradient.producer, add) : g.inBackward(add),
      );
    });
  }
  return recompute(foldConstants(shareSubexpressions(prune(dropJoints(g)))));
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
