import { multiplyDims } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import {
  tokenTables,
  type LinearModule,
  type Model,
  type ModelHooks,
  type ModelInputs,
} from "../model.js";
import { activate } from "./activations.js";
import { softcapped } from "./attention.js";
import type { DecoderConfig } from "./decoder-config.js";
import {
  decoderLinears,
  decoderSizes,
  decoderTensors,
  embeddingName,
  layerPath,
  projectionWidths,
} from "./decoder-tensors.js";
import { cutRows, linearByPath, repeatLayers } from "./layers.js";
import { rotaryTurn } from "./rope.js";
import { scoreHead } from "./score-head.js";

/** What a block is built with. */
interface BlockContext {
  readonly g: Graph;
  readonly config: DecoderConfig;
  readonly linear: (x: Value, path: string) => Value;
}

/** The products of a layer's input with q, k and v, each [rows, width]. */
const project = (
  { g, config, linear }: BlockContext,
  input: Value,
  path: string,
): readonly [q: Value, k: Value, v: Value] => {
  if (!config.fused)
    return [
      linear(input, `${path}.q_proj`),
      linear(input, `${path}.k_proj`),
      linear(input, `${path}.v_proj`),
    ];
  const { query, keyValue } = projectionWidths(config);
  const [q, k, v] = g.split(linear(input, `${path}.qkv_proj`), [query, keyValue, keyValue], 1);
  return [q as Value, k as Value, v as Value];
};

/** down(activation(gate(x)) * up(x)). */
const gatedMlp = ({ g, config, linear }: BlockContext, x: Value, path: string): Value => {
  const inner = config.intermediateSize;
  const [gate, up] = config.fused
    ? (g.split(linear(x, `${path}.gate_up_proj`), [inner, inner], 1) as [Value, Value])
    : [linear(x, `${path}.gate_proj`), linear(x, `${path}.up_proj`)];
  const product = g.cheap(() => g.mul(activate(g, config.activation, gate), up));
  return linear(product, `${path}.down_proj`);
};

/**
 * The hidden states after the last norm, [rows, hidden].
 *
 * Pre-norm blocks x + attention(norm(x)), x + mlp(norm(x)) with
 * mlp(x) = down(activation(gate(x)) * up(x)), rotary positions, grouped keys and values; normsBehind norms what is added, too.
 * Source: Touvron et al., "LLaMA"; modeling_llama.py of transformers.
 */
const buildDecoder = (
  g: Graph,
  config: DecoderConfig,
  linears: readonly LinearModule[],
  { inputIds, positions, maxPositions, recomputeLayers }: ModelInputs,
  hooks: ModelHooks,
): Value => {
  const { headDim, headNorms, normsBehind, scoreScale, scoreSoftcap } = config;
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const rotate = rotaryTurn(g, config, { positions, maxPositions });
  const linear = linearByPath(g, linears, hooks);
  const gainOf = (path: string): Value => {
    const weight = hooks.weight(`${path}.weight`);
    return config.gainsAroundOne ? g.add(weight, g.scalar(1, weight.dtype)) : weight;
  };
  // Norms, activations and products are cheap: the backward pass makes them again instead of keeping them.
  const norm = (x: Value, path: string): Value =>
    g.cheap(() => g.rmsNorm(x, gainOf(path), { epsilon: config.rmsNormEps }));
  const context: BlockContext = { g, config, linear };
  /** The norm of each head by itself, where the model has one. */
  const perHead = (x: Value, heads: number, path: string): Value =>
    headNorms
      ? g.reshape(norm(g.reshape(x, [rows, heads, headDim]), path), [rows, heads * headDim])
      : x;
  const scores = {
    ...(scoreScale !== undefined && { scale: scoreScale }),
    ...(scoreSoftcap !== undefined && { softcap: scoreSoftcap }),
  };
  /** What a part of a block adds to the hidden states. */
  const added = (x: Value, part: string, normPath: string): Value => {
    const dropped = hooks.drop && config.dropout !== undefined ? hooks.drop(x, part) : x;
    return normsBehind ? norm(dropped, normPath) : dropped;
  };

  const decoderLayer = (x: Value, layer: number): Value => {
    const path = layerPath(layer);
    const attention = `${path}.self_attn`;
    const [query, key, value] = project(context, norm(x, `${path}.input_layernorm`), attention);
    const q = rotate(perHead(query, config.heads, `${attention}.q_norm`), config.heads);
    const k = rotate(perHead(key, config.kvHeads, `${attention}.k_norm`), config.kvHeads);
    const v = g.reshape(value, [batch, seq, config.kvHeads * headDim]);
    const attended = g.inScope(attention, () => hooks.attend({ layer, q, k, v, ...scores }));
    const cut = cutRows(hooks, layer === config.layers - 1);
    const output = linear(cut(attended), `${attention}.o_proj`);
    const behind = `${path}.post_attention_layernorm`;
    const middle = g.add(cut(x), added(output, attention, behind));

    const mlpInput = norm(middle, normsBehind ? `${path}.pre_feedforward_layernorm` : behind);
    const result = gatedMlp(context, mlpInput, `${path}.mlp`);
    return g.add(middle, added(result, `${path}.mlp`, `${path}.post_feedforward_layernorm`));
  };

  const embedded = g.reshape(hooks.embed(embeddingName, inputIds), [rows, config.hiddenSize]);
  const { embeddingScale } = config;
  const x =
    embeddingScale === undefined
      ? embedded
      : g.mul(embedded, g.scalar(embeddingScale, embedded.dtype));
  const stack = { count: config.layers, pathOf: layerPath, recomputeLayers };
  return norm(repeatLayers(g, x, stack, decoderLayer), "model.norm");
};

/** A model of these blocks. @param config checked */
export const decoderModel = (config: DecoderConfig): Model => {
  const { vocabSize, hiddenSize, tieWordEmbeddings } = config;
  const { embeddingScale, logitSoftcap } = config;
  const { embedding, head } = tokenTables("model.embed_tokens", {
    ...{ vocabSize, width: hiddenSize, tied: tieWordEmbeddings },
    ...(embeddingScale !== undefined && { scale: embeddingScale }),
  });
  const linears = decoderLinears(config);
  const { modelType, intermediateSize, layers, heads, kvHeads, headDim } = config;
  const { maxPositionEmbeddings } = config;
  const { bosId, eosIds, padId, attentionDropout, windows } = config;
  return {
    modelType,
    ...{ causal: true, tokenTypes: 0 },
    ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim },
    maxPositionEmbeddings,
    ...{ tieWordEmbeddings, bosId, eosIds, padId, windows },
    dropout: config.dropout,
    attentionDropout,
    ...{ linears, embedding, head },
    classifier: scoreHead(
      `${modelType.slice(0, 1).toUpperCase()}${modelType.slice(1)}ForSequenceClassification`,
      hiddenSize,
    ),
    tensors: decoderTensors(config, head),
    trunk: (g, inputs, hooks) => buildDecoder(g, config, linears, inputs, hooks),
    logits: (g, hidden, hooks) =>
      g.inScope(head.path, () => {
        const logits = hooks.linear(hidden, head);
        return logitSoftcap === undefined ? logits : softcapped(g, logits, logitSoftcap);
      }),
    isRedundant: (name) =>
      name.endsWith(".rotary_emb.inv_freq") ||
      (tieWordEmbeddings && name === `${head.path}.weight`),
    shownSizes: (shapeOf) => decoderSizes(config, shapeOf),
    untied: () => decoderModel({ ...config, tieWordEmbeddings: false }),
    resized: (rows) => decoderModel({ ...config, vocabSize: rows }),
  };
};
