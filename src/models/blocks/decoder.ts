import { multiplyDims } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import {
  tokenTables,
  type LinearModule,
  type Model,
  type ModelHooks,
  type ModelInputs,
  type ModelSizes,
  type ModelTokenIds,
  type ShapeOf,
  type ShownSize,
} from "../model.js";
import { cutRows, linearByPath, repeatLayers } from "./layers.js";
import { ropeTable, type RopeConfig } from "./rope.js";
import { scoreHead } from "./score-head.js";

/**
 * A decoder of pre-norm blocks with RMS norms, rotary positions, grouped keys and values and a gated MLP: Llama and those that
 * differ from it by a switch.
 */
export interface DecoderConfig extends ModelSizes, ModelTokenIds, RopeConfig {
  readonly modelType: string;
  readonly rmsNormEps: number;
  /** Biases on q, k and v. */
  readonly qkvBias: boolean;
  /** A bias on o. */
  readonly outputBias: boolean;
  /** Biases on gate, up and down. */
  readonly mlpBias: boolean;
  /** RMS norms of each head's query and key, before they are rotated (Qwen3). */
  readonly headNorms: boolean;
  /** Of attention probabilities, in training. */
  readonly attentionDropout: number;
  /** By layer, how many tokens back a token sees; undefined: all. */
  readonly windows: readonly (number | undefined)[];
}

const EMBEDDINGS = "model.embed_tokens.weight";

const layerPath = (layer: number): string => `model.layers.${String(layer)}`;

/** In the order of computation. */
const linearsOf = (config: DecoderConfig): readonly LinearModule[] => {
  const {
    hiddenSize: hidden,
    intermediateSize: intermediate,
    qkvBias,
    outputBias,
    mlpBias,
  } = config;
  const query = config.heads * config.headDim;
  const keyValue = config.kvHeads * config.headDim;
  const ofBlock: readonly (readonly [
    string,
    inFeatures: number,
    outFeatures: number,
    bias: boolean,
  ])[] = [
    ["self_attn.q_proj", hidden, query, qkvBias],
    ["self_attn.k_proj", hidden, keyValue, qkvBias],
    ["self_attn.v_proj", hidden, keyValue, qkvBias],
    ["self_attn.o_proj", query, hidden, outputBias],
    ["mlp.gate_proj", hidden, intermediate, mlpBias],
    ["mlp.up_proj", hidden, intermediate, mlpBias],
    ["mlp.down_proj", intermediate, hidden, mlpBias],
  ];
  return Array.from({ length: config.layers }, (_, layer) =>
    ofBlock.map(([name, inFeatures, outFeatures, bias]) => ({
      path: `${layerPath(layer)}.${name}`,
      inFeatures,
      outFeatures,
      bias,
    })),
  ).flat();
};

const tensorsOf = (
  config: DecoderConfig,
  linears: readonly LinearModule[],
  head: LinearModule,
): ReadonlyMap<string, readonly number[]> => {
  const { hiddenSize: hidden, vocabSize: vocab, headDim, headNorms } = config;
  const tensors = new Map<string, readonly number[]>([[EMBEDDINGS, [vocab, hidden]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `${layerPath(layer)}.`;
    for (const { path, inFeatures, outFeatures, bias } of linears) {
      if (!path.startsWith(block)) continue;
      tensors.set(`${path}.weight`, [outFeatures, inFeatures]);
      if (bias) tensors.set(`${path}.bias`, [outFeatures]);
      if (headNorms && path.endsWith(".o_proj"))
        for (const name of ["q_norm", "k_norm"])
          tensors.set(`${block}self_attn.${name}.weight`, [headDim]);
    }
    tensors.set(`${block}input_layernorm.weight`, [hidden]);
    tensors.set(`${block}post_attention_layernorm.weight`, [hidden]);
  }
  tensors.set("model.norm.weight", [hidden]);
  if (!config.tieWordEmbeddings) tensors.set(`${head.path}.weight`, [vocab, hidden]);
  return tensors;
};

const shownSizes = (config: DecoderConfig, shapeOf: ShapeOf): readonly ShownSize[] => {
  const size = (name: string, axis: number): number | undefined => shapeOf(name)?.[axis];
  const block = `${layerPath(0)}.`;
  return [
    ["vocab_size", config.vocabSize, size(EMBEDDINGS, 0)],
    ["hidden_size", config.hiddenSize, size("model.norm.weight", 0) ?? size(EMBEDDINGS, 1)],
    ["intermediate_size", config.intermediateSize, size(`${block}mlp.gate_proj.weight`, 0)],
    [
      "num_attention_heads times head_dim",
      config.heads * config.headDim,
      size(`${block}self_attn.q_proj.weight`, 0),
    ],
    [
      "num_key_value_heads times head_dim",
      config.kvHeads * config.headDim,
      size(`${block}self_attn.k_proj.weight`, 0),
    ],
  ];
};

/**
 * The hidden states after the last norm, [rows, hidden].
 *
 * Pre-norm blocks x + attention(norm(x)), x + mlp(norm(x)) with
 * mlp(x) = down(silu(gate(x)) * up(x)), rotary positions, grouped keys and values.
 * Source: Touvron et al., "LLaMA"; modeling_llama.py of transformers.
 */
const buildDecoder = (
  g: Graph,
  config: DecoderConfig,
  linears: readonly LinearModule[],
  { inputIds, positions, maxPositions, recomputeLayers }: ModelInputs,
  hooks: ModelHooks,
): Value => {
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const { cos, sin } = ropeTable(config, maxPositions);
  const linear = linearByPath(g, linears, hooks);
  const table = (data: Float32Array) =>
    g.constant("float32", [maxPositions, config.headDim / 2], data);
  const [cosTable, sinTable] = [table(cos), table(sin)];
  const rowPositions = g.reshape(positions, [rows, 1]);
  // As rows of one column each: ONNX Runtime refuses more columns than the tables have positions, whatever their positions are, and
  // the beams of a decoding step are columns that share a position.
  const rotate = (x: Value, width: number): Value => {
    const turned = g.rotaryEmbedding(
      g.reshape(x, [rows, 1, width]),
      rowPositions,
      cosTable,
      sinTable,
    );
    return g.reshape(turned, [batch, seq, width]);
  };
  // Norms, activations and products are cheap: the backward pass makes them again instead of keeping them.
  const norm = (x: Value, path: string): Value =>
    g.cheap(() => g.rmsNorm(x, hooks.weight(`${path}.weight`), { epsilon: config.rmsNormEps }));
  /** The norm of each head by itself, where the model has one. */
  const perHead = (x: Value, width: number, path: string): Value => {
    const { headDim, headNorms } = config;
    if (!headNorms) return x;
    return g.reshape(norm(g.reshape(x, [rows, width / headDim, headDim]), path), [rows, width]);
  };

  const decoderLayer = (x: Value, layer: number): Value => {
    const path = layerPath(layer);
    const attentionInput = norm(x, `${path}.input_layernorm`);
    const project = (name: string): Value => linear(attentionInput, `${path}.self_attn.${name}`);
    const [query, keyValue] = [config.heads * config.headDim, config.kvHeads * config.headDim];
    const [q, k, v] = [
      rotate(perHead(project("q_proj"), query, `${path}.self_attn.q_norm`), query),
      rotate(perHead(project("k_proj"), keyValue, `${path}.self_attn.k_norm`), keyValue),
      g.reshape(project("v_proj"), [batch, seq, keyValue]),
    ];
    const context = g.inScope(`${path}.self_attn`, () => hooks.attend({ layer, q, k, v }));
    const cut = cutRows(hooks, layer === config.layers - 1);
    const middle = g.add(cut(x), linear(cut(context), `${path}.self_attn.o_proj`));

    const mlpInput = norm(middle, `${path}.post_attention_layernorm`);
    const gate = linear(mlpInput, `${path}.mlp.gate_proj`);
    const up = linear(mlpInput, `${path}.mlp.up_proj`);
    const product = g.cheap(() => g.mul(g.silu(gate), up));
    return g.add(middle, linear(product, `${path}.mlp.down_proj`));
  };

  const x = g.reshape(hooks.embed(EMBEDDINGS, inputIds), [rows, config.hiddenSize]);
  const stack = { count: config.layers, pathOf: layerPath, recomputeLayers };
  return norm(repeatLayers(g, x, stack, decoderLayer), "model.norm");
};

/** A model of these blocks. @param config checked */
export const decoderModel = (config: DecoderConfig): Model => {
  const { vocabSize, hiddenSize, tieWordEmbeddings } = config;
  const { embedding, head } = tokenTables("model.embed_tokens", {
    ...{ vocabSize, width: hiddenSize, tied: tieWordEmbeddings },
  });
  const linears = linearsOf(config);
  const { modelType, intermediateSize, layers, heads, kvHeads, headDim } = config;
  const { maxPositionEmbeddings } = config;
  const { bosId, eosIds, padId, attentionDropout, windows } = config;
  return {
    modelType,
    ...{ causal: true, tokenTypes: 0 },
    ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim },
    maxPositionEmbeddings,
    ...{ tieWordEmbeddings, bosId, eosIds, padId, windows },
    dropout: undefined,
    attentionDropout,
    ...{ linears, embedding, head },
    classifier: scoreHead(
      `${modelType.slice(0, 1).toUpperCase()}${modelType.slice(1)}ForSequenceClassification`,
      hiddenSize,
    ),
    tensors: tensorsOf(config, linears, head),
    trunk: (g, inputs, hooks) => buildDecoder(g, config, linears, inputs, hooks),
    logits: (g, hidden, hooks) => g.inScope(head.path, () => hooks.linear(hidden, head)),
    isRedundant: (name) =>
      name.endsWith(".rotary_emb.inv_freq") ||
      (tieWordEmbeddings && name === `${head.path}.weight`),
    shownSizes: (shapeOf) => shownSizes(config, shapeOf),
    untied: () => decoderModel({ ...config, tieWordEmbeddings: false }),
    resized: (rows) => decoderModel({ ...config, vocabSize: rows }),
  };
};
