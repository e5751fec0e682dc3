import { multiplyDims } from "../../core/dim.js";
import { flag, JsonFields, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
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

/** Of config.json; kvHeads are the heads, and intermediateSize is ffn_dim. */
interface OptConfig extends ModelSizes, ModelTokenIds {
  /** word_embed_proj_dim: hiddenSize, or the width of a table that is projected (opt-350m). */
  readonly embeddingSize: number;
  /** False: norms stand behind what they belong to, and there is none at the end (opt-350m). */
  readonly normFirst: boolean;
  readonly lastNorm: boolean;
  readonly bias: boolean;
  readonly dropout: number;
  readonly attentionDropout: number;
}

/** Rows of the table of positions before position 0. */
const POSITION_OFFSET = 2;
const EPSILON = 1e-5;
const ROOT = "model.decoder";
const EMBEDDINGS = `${ROOT}.embed_tokens.weight`;
const POSITIONS = `${ROOT}.embed_positions.weight`;

/** Source: OPTConfig of transformers 5.24. */
const readConfig = (raw: JsonObject, faults: string[]): OptConfig => {
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.optional("hidden_size", size, 768);
  const heads = fields.optional("num_attention_heads", size, 12);
  if (hiddenSize % heads > 0)
    fields.fault("hidden_size", `a multiple of num_attention_heads (${String(heads)})`);
  const activation = fields.value("activation_function") ?? "relu";
  if (activation !== "relu") fields.fault("activation_function", '"relu"');
  if (!fields.optional("layer_norm_elementwise_affine", flag, true))
    fields.fault("layer_norm_elementwise_affine", "true");
  if (fields.optional("layerdrop", share, 0) > 0)
    fields.fault("layerdrop", "0: whole layers are not dropped here");
  const normFirst = fields.optional("do_layer_norm_before", flag, true);
  return {
    vocabSize: fields.optional("vocab_size", size, 50272),
    hiddenSize,
    intermediateSize: fields.optional("ffn_dim", size, 3072),
    layers: fields.optional("num_hidden_layers", size, 12),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositionEmbeddings: fields.optional("max_position_embeddings", size, 2048),
    tieWordEmbeddings: fields.optional("tie_word_embeddings", flag, true),
    embeddingSize: fields.optional("word_embed_proj_dim", size, hiddenSize),
    normFirst,
    lastNorm: normFirst && !fields.optional("_remove_final_layer_norm", flag, false),
    bias: fields.optional("enable_bias", flag, true),
    dropout: fields.optional("dropout", share, 0.1),
    attentionDropout: fields.optional("attention_dropout", share, 0),
    bosId: readTokenIds(raw, "bos_token_id", faults, [2])[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults, [2]),
    padId: readTokenIds(raw, "pad_token_id", faults, [1])[0],
  };
};

const layerPath = (layer: number): string => `${ROOT}.layers.${String(layer)}`;

/** The projections of the embedding's width into the model's and back, where the two differ. */
const projections = ({ embeddingSize, hiddenSize }: OptConfig) =>
  embeddingSize === hiddenSize
    ? undefined
    : {
        into: {
          path: `${ROOT}.project_in`,
          inFeatures: embeddingSize,
          outFeatures: hiddenSize,
          bias: false,
        },
        out: {
          path: `${ROOT}.project_out`,
          inFeatures: hiddenSize,
          outFeatures: embeddingSize,
          bias: false,
        },
      };

const linearsOf = (config: OptConfig): readonly LinearModule[] => {
  const { hiddenSize: hidden, intermediateSize: inner, bias, layers } = config;
  const square = { inFeatures: hidden, outFeatures: hidden, bias };
  const projected = projections(config);
  const blocks = Array.from({ length: layers }, (_, layer) => [
    ...["q_proj", "k_proj", "v_proj", "out_proj"].map((name) => ({
      path: `${layerPath(layer)}.self_attn.${name}`,
      ...square,
    })),
    { path: `${layerPath(layer)}.fc1`, inFeatures: hidden, outFeatures: inner, bias },
    { path: `${layerPath(layer)}.fc2`, inFeatures: inner, outFeatures: hidden, bias },
  ]);
  return [
    ...(projected ? [projected.into] : []),
    ...blocks.flat(),
    ...(projected ? [projected.out] : []),
  ];
};

const tensorsOf = (
  config: OptConfig,
  linears: readonly LinearModule[],
): ReadonlyMap<string, readonly number[]> => {
  const { hiddenSize: hidden, vocabSize, embeddingSize, maxPositionEmbeddings } = config;
  const tensors = new Map<string, readonly number[]>([
    [EMBEDDINGS, [vocabSize, embeddingSize]],
    [POSITIONS, [maxPositionEmbeddings + POSITION_OFFSET, hidden]],
  ]);
  const norm = (path: string): void => {
    addLayerNorm(tensors, path, hidden);
  };
  const modules = new Map(linears.map((module) => [module.path, module]));
  const linear = (path: string): void => {
    const module = modules.get(path);
    if (module) addLinear(tensors, module);
  };
  for (const name of ["project_out", "project_in"]) linear(`${ROOT}.${name}`);
  if (config.lastNorm) norm(`${ROOT}.final_layer_norm`);
  for (let layer = 0; layer < config.layers; layer++) {
    const path = layerPath(layer);
    for (const name of ["k_proj", "v_proj", "q_proj", "out_proj"])
      linear(`${path}.self_attn.${name}`);
    norm(`${path}.self_attn_layer_norm`);
    for (const name of ["fc1", "fc2"]) linear(`${path}.${name}`);
    norm(`${path}.final_layer_norm`);
  }
  if (!config.tieWordEmbeddings) tensors.set("lm_head.weight", [vocabSize, embeddingSize]);
  return tensors;
};

const build = (
  g: Graph,
  config: OptConfig,
  linears: readonly LinearModule[],
  { inputIds, positions, maxPositions, recomputeLayers }: ModelInputs,
  hooks: ModelHooks,
): Value => {
  const { hiddenSize: hidden, embeddingSize, normFirst } = config;
  requirePositions(maxPositions, config.maxPositionEmbeddings);
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const linear = linearByPath(g, linears, hooks);
  const norm = layerNormByPath(g, hooks, EPSILON);
  const drop = (x: Value, place: string): Value => hooks.drop?.(x, place) ?? x;

  const decoderLayer = (x: Value, layer: number): Value => {
    const path = layerPath(layer);
    const attentionNorm = `${path}.self_attn_layer_norm`;
    const input = normFirst ? norm(x, attentionNorm) : x;
    const project = (name: string): Value =>
      g.reshape(linear(input, `${path}.self_attn.${name}`), [batch, seq, hidden]);
    const [q, k, v] = [project("q_proj"), project("k_proj"), project("v_proj")];
    const context = g.inScope(`${path}.self_attn`, () => hooks.attend({ layer, q, k, v }));
    const cut = cutRows(hooks, layer === config.layers - 1);
    const attended = drop(linear(cut(context), `${path}.self_attn.out_proj`), `${path}.self_attn`);
    const sum = g.add(cut(x), attended);
    const middle = normFirst ? sum : norm(sum, attentionNorm);

    const mlpInput = normFirst ? norm(middle, `${path}.final_layer_norm`) : middle;
    const inner = g.cheap(() => g.relu(linear(mlpInput, `${path}.fc1`)));
    const result = g.add(middle, drop(linear(inner, `${path}.fc2`), `${path}.fc2`));
    return normFirst ? result : norm(result, `${path}.final_layer_norm`);
  };

  const embedded = g.reshape(hooks.embed(EMBEDDINGS, inputIds), [rows, embeddingSize]);
  const projected = projections(config);
  const places = g.add(positions, g.scalar(POSITION_OFFSET, "int64"));
  const x = g.add(
    projected ? linear(embedded, projected.into.path) : embedded,
    g.reshape(hooks.embed(POSITIONS, places), [rows, hidden]),
  );
  const stack = { count: config.layers, pathOf: layerPath, recomputeLayers };
  const blocks = repeatLayers(g, x, stack, decoderLayer);
  const normed = config.lastNorm ? norm(blocks, `${ROOT}.final_layer_norm`) : blocks;
  return projected ? linear(normed, projected.out.path) : normed;
};

const optModel = (config: OptConfig): Model => {
  const { vocabSize, embeddingSize, tieWordEmbeddings } = config;
  const { embedding, head } = tokenTables(`${ROOT}.embed_tokens`, {
    ...{ vocabSize, width: embeddingSize, tied: tieWordEmbeddings },
  });
  const linears = linearsOf(config);
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim } = config;
  const { maxPositionEmbeddings, bosId, eosIds, padId, dropout, attentionDropout } = config;
  return {
    modelType: "opt",
    ...{ causal: true, tokenTypes: 0 },
    ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim },
    ...{ maxPositionEmbeddings, tieWordEmbeddings, bosId, eosIds, padId },
    ...{ dropout, attentionDropout, linears, head },
    windows: Array<undefined>(layers).fill(undefined),
    embedding,
    classifier: scoreHead("OPTForSequenceClassification", embeddingSize),
    tensors: tensorsOf(config, linears),
    prefix: "model.",
    trunk: (g, inputs, hooks) => build(g, config, linears, inputs, hooks),
    logits: (g, hidden, hooks) => g.inScope(head.path, () => hooks.linear(hidden, head)),
    isRedundant: (name) => tieWordEmbeddings && name === "lm_head.weight",
    shownSizes: (shapeOf) => [
      ["vocab_size", vocabSize, shapeOf(EMBEDDINGS)?.[0]],
      ["word_embed_proj_dim", embeddingSize, shapeOf(EMBEDDINGS)?.[1]],
      ["hidden_size", hiddenSize, shapeOf(POSITIONS)?.[1]],
      ["ffn_dim", intermediateSize, shapeOf(`${layerPath(0)}.fc1.weight`)?.[0]],
    ],
    untied: () => optModel({ ...config, tieWordEmbeddings: false }),
    resized: (count) => optModel({ ...config, vocabSize: count }),
  };
};

/**
 * OPT: layer norms, learned positions that begin in row 2 of their table and are counted from a row's first token, relu.
 *
 * Source: Zhang et al., "OPT", 2022; modeling_opt.py of transformers.
 */
export const opt = defineFamily({ readConfig, model: optModel });
