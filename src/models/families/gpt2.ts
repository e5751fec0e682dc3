import { multiplyDims } from "../../core/dim.js";
import { flag, JsonFields, positive, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { activate, readActivation, type ActivationName } from "../blocks/activations.js";
import {
  addLayerNorm,
  addLinear,
  cutRows,
  layerNormByPath,
  linearByPath,
  repeatLayers,
} from "../blocks/layers.js";
import { requirePositions } from "../blocks/learned-positions.js";
import { scoreHead } from "../blocks/score-head.js";
import { defineFamily } from "../family.js";
import {
  tokenTables,
  type LinearModule,
  type Model,
  type ModelHooks,
  type ModelInputs,
  type ModelSizes,
  type ModelTokenIds,
} from "../model.js";
import { readTokenIds } from "../token-ids.js";

/** Of config.json; kvHeads are the heads, and intermediateSize is n_inner. */
interface Gpt2Config extends ModelSizes, ModelTokenIds {
  readonly activation: ActivationName;
  readonly epsilon: number;
  /** scale_attn_weights: whether scores are divided by the square root of headDim. */
  readonly scales: boolean;
  /** scale_attn_by_inverse_layer_idx: whether those of layer i are divided by i + 1 too. */
  readonly scalesByLayer: boolean;
  /** embd_pdrop, resid_pdrop, attn_pdrop */
  readonly embeddingDropout: number;
  readonly residualDropout: number;
  readonly attentionDropout: number;
}

const ROOT = "transformer";
const EMBEDDINGS = `${ROOT}.wte.weight`;
const POSITIONS = `${ROOT}.wpe.weight`;
/** <|endoftext|> */
const END_OF_TEXT = [50256];

/** Source: GPT2Config of transformers 5.24. */
const readConfig = (raw: JsonObject, faults: string[]): Gpt2Config => {
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.optional("n_embd", size, 768);
  const heads = fields.optional("n_head", size, 12);
  if (hiddenSize % heads > 0) fields.fault("n_embd", `a multiple of n_head (${String(heads)})`);
  if (fields.optional("add_cross_attention", flag, false))
    fields.fault("add_cross_attention", "false: there is no encoder here");
  return {
    vocabSize: fields.optional("vocab_size", size, 50257),
    hiddenSize,
    intermediateSize: fields.optional("n_inner", size, 4 * hiddenSize),
    layers: fields.optional("n_layer", size, 12),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositionEmbeddings: fields.optional("n_positions", size, 1024),
    tieWordEmbeddings: fields.optional("tie_word_embeddings", flag, true),
    activation: readActivation(fields, "activation_function", "gelu_new"),
    epsilon: fields.optional("layer_norm_epsilon", positive, 1e-5),
    scales: fields.optional("scale_attn_weights", flag, true),
    scalesByLayer: fields.optional("scale_attn_by_inverse_layer_idx", flag, false),
    embeddingDropout: fields.optional("embd_pdrop", share, 0.1),
    residualDropout: fields.optional("resid_pdrop", share, 0.1),
    attentionDropout: fields.optional("attn_pdrop", share, 0.1),
    bosId: readTokenIds(raw, "bos_token_id", faults, END_OF_TEXT)[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults, END_OF_TEXT),
    padId: readTokenIds(raw, "pad_token_id", faults)[0],
  };
};

const layerPath = (layer: number): string => `${ROOT}.h.${String(layer)}`;

/** Conv1D of transformers: the layers of the blocks lie [in, out]. Query, key and value are one of them. */
const layerLinears = (
  { hiddenSize: hidden, intermediateSize: inner }: Gpt2Config,
  layer: number,
): readonly LinearModule[] =>
  (
    [
      ["attn.c_attn", hidden, 3 * hidden],
      ["attn.c_proj", hidden, hidden],
      ["mlp.c_fc", hidden, inner],
      ["mlp.c_proj", inner, hidden],
    ] as const
  ).map(([name, inFeatures, outFeatures]) => ({
    path: `${layerPath(layer)}.${name}`,
    ...{ inFeatures, outFeatures },
    bias: true,
    layout: "in-out",
  }));

const tensorsOf = (
  { hiddenSize: hidden, vocabSize, maxPositionEmbeddings, layers, tieWordEmbeddings }: Gpt2Config,
  linears: readonly LinearModule[],
): ReadonlyMap<string, readonly number[]> => {
  const tensors = new Map<string, readonly number[]>([
    [EMBEDDINGS, [vocabSize, hidden]],
    [POSITIONS, [maxPositionEmbeddings, hidden]],
  ]);
  const norm = (path: string): void => {
    addLayerNorm(tensors, path, hidden);
  };
  const linearsIn = (path: string): void => {
    for (const module of linears.filter((each) => each.path.startsWith(`${path}.`)))
      addLinear(tensors, module);
  };
  for (let layer = 0; layer < layers; layer++) {
    norm(`${layerPath(layer)}.ln_1`);
    linearsIn(`${layerPath(layer)}.attn`);
    norm(`${layerPath(layer)}.ln_2`);
    linearsIn(`${layerPath(layer)}.mlp`);
  }
  norm(`${ROOT}.ln_f`);
  if (!tieWordEmbeddings) tensors.set("lm_head.weight", [vocabSize, hidden]);
  return tensors;
};

const build = (
  g: Graph,
  config: Gpt2Config,
  linears: readonly LinearModule[],
  { inputIds, positions, maxPositions, recomputeLayers }: ModelInputs,
  hooks: ModelHooks,
): Value => {
  const { hiddenSize: hidden, headDim, epsilon, residualDropout, embeddingDropout } = config;
  requirePositions(maxPositions, config.maxPositionEmbeddings);
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const linear = linearByPath(g, linears, hooks);
  const norm = layerNormByPath(g, hooks, epsilon);
  const drop = (x: Value, place: string, rate: number): Value => hooks.drop?.(x, place, rate) ?? x;

  const block = (x: Value, layer: number): Value => {
    const path = layerPath(layer);
    const fused = linear(norm(x, `${path}.ln_1`), `${path}.attn.c_attn`);
    const [q, k, v] = g
      .split(fused, [hidden, hidden, hidden], 1)
      .map((part) => g.reshape(part, [batch, seq, hidden])) as [Value, Value, Value];
    const scale = (config.scales ? headDim ** -0.5 : 1) / (config.scalesByLayer ? layer + 1 : 1);
    const context = g.inScope(`${path}.attn`, () => hooks.attend({ layer, q, k, v, scale }));
    const cut = cutRows(hooks, layer === config.layers - 1);
    const attended = linear(cut(context), `${path}.attn.c_proj`);
    const middle = g.add(cut(x), drop(attended, `${path}.attn`, residualDropout));
    const inner = activate(
      g,
      config.activation,
      linear(norm(middle, `${path}.ln_2`), `${path}.mlp.c_fc`),
    );
    const changed = linear(inner, `${path}.mlp.c_proj`);
    return g.add(middle, drop(changed, `${path}.mlp`, residualDropout));
  };

  const embedded = g.add(hooks.embed(EMBEDDINGS, inputIds), hooks.embed(POSITIONS, positions));
  const x = drop(g.reshape(embedded, [rows, hidden]), ROOT, embeddingDropout);
  const stack = { count: config.layers, pathOf: layerPath, recomputeLayers };
  return norm(repeatLayers(g, x, stack, block), `${ROOT}.ln_f`);
};

const gpt2Model = (config: Gpt2Config): Model => {
  const { vocabSize, hiddenSize, tieWordEmbeddings } = config;
  const { embedding, head } = tokenTables(`${ROOT}.wte`, {
    ...{ vocabSize, width: hiddenSize, tied: tieWordEmbeddings },
  });
  const { intermediateSize, layers, heads, kvHeads, headDim, maxPositionEmbeddings } = config;
  const { bosId, eosIds, padId, attentionDropout } = config;
  const linears = Array.from({ length: layers }, (_, layer) => layerLinears(config, layer)).flat();
  return {
    modelType: "gpt2",
    ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim },
    ...{ maxPositionEmbeddings, tieWordEmbeddings, bosId, eosIds, padId },
    dropout: Math.max(config.embeddingDropout, config.residualDropout),
    attentionDropout,
    ...{ causal: true, tokenTypes: 0 },
    windows: Array<undefined>(layers).fill(undefined),
    ...{ linears, embedding, head },
    classifier: scoreHead("GPT2ForSequenceClassification", hiddenSize),
    tensors: tensorsOf(config, linears),
    prefix: `${ROOT}.`,
    trunk: (g, inputs, hooks) => build(g, config, linears, inputs, hooks),
    logits: (g, hidden, hooks) => g.inScope(head.path, () => hooks.linear(hidden, head)),
    // The masks of causal attention, which old files hold.
    isRedundant: (name) =>
      /^transformer\.h\.\d+\.attn\.(?:masked_)?bias$/.test(name) ||
      (tieWordEmbeddings && name === "lm_head.weight"),
    shownSizes: (shapeOf) => [
      ["vocab_size", vocabSize, shapeOf(EMBEDDINGS)?.[0]],
      ["n_embd", hiddenSize, shapeOf(EMBEDDINGS)?.[1]],
      ["n_positions", maxPositionEmbeddings, shapeOf(POSITIONS)?.[0]],
      ["n_inner", intermediateSize, shapeOf(`${layerPath(0)}.mlp.c_fc.weight`)?.[1]],
    ],
    untied: () => gpt2Model({ ...config, tieWordEmbeddings: false }),
    resized: (count) => gpt2Model({ ...config, vocabSize: count }),
  };
};

/**
 * GPT-2: layer norms, learned positions that are counted from a row's first token, one layer for query, key and value.
 *
 * Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; modeling_gpt2.py of transformers.
 */
export const gpt2 = defineFamily({ readConfig, model: gpt2Model });
