import { multiplyDims } from "../core/dim.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule, ModelHooks } from "./adapter.js";
import {
  EMBEDDINGS,
  llamaLinears,
  OUTPUT_HEAD,
  ropeTable,
  type LlamaConfig,
} from "./llama-config.js";

/** The linear layers of a Llama in the order of the forward pass; the output head is not among them. */
export const llamaLinearModules = (config: LlamaConfig): readonly LinearModule[] =>
  [...llamaLinears(config)].map(([path, size]) => ({ path, ...size }));

/** The output head: logits [rows, vocab] of hidden states [rows, hidden]. */
export const llamaHead = (config: LlamaConfig): LinearModule => ({
  path: "lm_head",
  inFeatures: config.hiddenSize,
  outFeatures: config.vocabSize,
  bias: false,
  table: "head",
  weight: config.tieWordEmbeddings ? EMBEDDINGS : OUTPUT_HEAD,
});

/** What an adapter may change: the linear layers, then the embedding and the head. */
export const adaptableModules = (config: LlamaConfig): readonly LinearModule[] => [
  ...llamaLinearModules(config),
  {
    path: "model.embed_tokens",
    inFeatures: config.hiddenSize,
    outFeatures: config.vocabSize,
    bias: false,
    table: "embedding",
  },
  llamaHead(config),
];

const layerPath = (layer: number): string => `model.layers.${String(layer)}`;

export interface LlamaInputs {
  /** int64 [batch, seq] */
  readonly inputIds: Value;
  /** int64 [batch, seq]: each token's place in its row, below `maxPositions`. */
  readonly positions: Value;
  /** How many positions the rotary tables hold. */
  readonly maxPositions: number;
  /** True lets the backward pass compute each layer again from its input (gradient checkpointing). */
  readonly recomputeLayers?: boolean;
}

/**
 * A Llama decoder: the hidden states after the last norm, [rows, hidden].
 *
 * rows = batch * seq, or what `hooks.lastRows` leaves of them. Pre-norm blocks x + attention(norm(x)), x + mlp(norm(x)) with
 * mlp(x) = down(silu(gate(x)) * up(x)), rotary positions, grouped keys and values.
 * Source: Touvron et al., "LLaMA"; modeling_llama.py of transformers.
 */
export const buildLlama = (
  g: Graph,
  config: LlamaConfig,
  { inputIds, positions, maxPositions, recomputeLayers = false }: LlamaInputs,
  hooks: ModelHooks,
): Value => {
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const { cos, sin } = ropeTable(config, maxPositions);
  const modules = new Map(llamaLinearModules(config).map((module) => [module.path, module]));
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

  const decoderLayer = (x: Value, layer: number): Value => {
    const path = layerPath(layer);
    const module = (name: string): LinearModule => {
      const found = modules.get(`${path}.${name}`);
      if (!found) throw new RangeError(`Cannot build layer ${String(layer)}: it has no ${name}`);
      return found;
    };
    const attentionInput = norm(x, `${path}.input_layernorm`);
    const project = (layerModule: LinearModule): Value =>
      g.inScope(layerModule.path, () => hooks.linear(attentionInput, layerModule));
    const [query, key, value] = [
      module("self_attn.q_proj"),
      module("self_attn.k_proj"),
      module("self_attn.v_proj"),
    ];
    const [q, k, v] = [
      rotate(project(query), query.outFeatures),
      rotate(project(key), key.outFeatures),
      g.reshape(project(value), [batch, seq, value.outFeatures]),
    ];
    const context = g.inScope(`${path}.self_attn`, () => hooks.attend({ layer, q, k, v }));
    const cut =
      layer === config.layers - 1 && hooks.lastRows ? hooks.lastRows : (value: Value) => value;
    const linear = (input: Value, layerModule: LinearModule): Value =>
      g.inScope(layerModule.path, () => hooks.linear(input, layerModule));
    const middle = g.add(cut(x), linear(cut(context), module("self_attn.o_proj")));

    const mlpInput = norm(middle, `${path}.post_attention_layernorm`);
    const gate = linear(mlpInput, module("mlp.gate_proj"));
    const up = linear(mlpInput, module("mlp.up_proj"));
    const product = g.cheap(() => g.mul(g.silu(gate), up));
    return g.add(middle, linear(product, module("mlp.down_proj")));
  };

  let x = g.reshape(hooks.embed(EMBEDDINGS, inputIds), [rows, config.hiddenSize]);
  for (let layer = 0; layer < config.layers; layer++) {
    const input = x;
    x = recomputeLayers
      ? g.recomputable(layerPath(layer), () => decoderLayer(input, layer))
      : decoderLayer(input, layer);
  }
  return norm(x, "model.norm");
};

/** Logits [rows, vocab] of hidden states [rows, hidden]; a tied head is the embedding table. */
export const buildLlamaHead = (
  g: Graph,
  config: LlamaConfig,
  hidden: Value,
  hooks: Pick<ModelHooks, "linear">,
): Value => g.inScope("lm_head", () => hooks.linear(hidden, llamaHead(config)));
