import type { LinearModule, ShapeOf, ShownSize } from "../model.js";
import type { DecoderConfig } from "./decoder-config.js";

/** The tensor of the token embedding. */
export const embeddingName = "model.embed_tokens.weight";

/** The path of a layer's block. */
export const layerPath = (layer: number): string => `model.layers.${String(layer)}`;

/** The widths of all queries, and of all keys or values. */
export const projectionWidths = ({
  heads,
  kvHeads,
  headDim,
}: Pick<DecoderConfig, "heads" | "kvHeads" | "headDim">): {
  readonly query: number;
  readonly keyValue: number;
} => ({ query: heads * headDim, keyValue: kvHeads * headDim });

type Linear = readonly [name: string, inFeatures: number, outFeatures: number, bias: boolean];

/** Of a block, in the order of computation. */
const linearsOfBlock = (config: DecoderConfig): readonly Linear[] => {
  const { hiddenSize: hidden, intermediateSize: inner, qkvBias, outputBias, mlpBias } = config;
  const { query, keyValue } = projectionWidths(config);
  const output: Linear = ["self_attn.o_proj", query, hidden, outputBias];
  const down: Linear = ["mlp.down_proj", inner, hidden, mlpBias];
  return config.fused
    ? [
        ["self_attn.qkv_proj", hidden, query + 2 * keyValue, qkvBias],
        output,
        ["mlp.gate_up_proj", hidden, 2 * inner, mlpBias],
        down,
      ]
    : [
        ["self_attn.q_proj", hidden, query, qkvBias],
        ["self_attn.k_proj", hidden, keyValue, qkvBias],
        ["self_attn.v_proj", hidden, keyValue, qkvBias],
        output,
        ["mlp.gate_proj", hidden, inner, mlpBias],
        ["mlp.up_proj", hidden, inner, mlpBias],
        down,
      ];
};

/** The linear layers of a decoder's blocks, in the order of computation. */
export const decoderLinears = (config: DecoderConfig): readonly LinearModule[] => {
  const ofBlock = linearsOfBlock(config);
  return Array.from({ length: config.layers }, (_, layer) =>
    ofBlock.map(([name, inFeatures, outFeatures, bias]) => ({
      path: `${layerPath(layer)}.${name}`,
      inFeatures,
      outFeatures,
      bias,
    })),
  ).flat();
};

/** The tensors of a decoder, in the order of transformers' state_dict. */
export const decoderTensors = (
  config: DecoderConfig,
  head: LinearModule,
): ReadonlyMap<string, readonly number[]> => {
  const { hiddenSize: hidden, vocabSize: vocab, headDim, headNorms, fused, normsBehind } = config;
  const tensors = new Map<string, readonly number[]>([[embeddingName, [vocab, hidden]]]);
  const ofBlock = linearsOfBlock(config);
  // A block that has fused layers names the output first.
  const [first, second, ...others] = ofBlock;
  const inOrder = fused && first && second ? [second, first, ...others] : ofBlock;
  const norms = [
    "input_layernorm",
    "post_attention_layernorm",
    ...(normsBehind ? ["pre_feedforward_layernorm", "post_feedforward_layernorm"] : []),
  ];
  for (let layer = 0; layer < config.layers; layer++) {
    const block = layerPath(layer);
    for (const [name, inFeatures, outFeatures, bias] of inOrder) {
      tensors.set(`${block}.${name}.weight`, [outFeatures, inFeatures]);
      if (bias) tensors.set(`${block}.${name}.bias`, [outFeatures]);
      if (headNorms && name.endsWith(".o_proj"))
        for (const norm of ["q_norm", "k_norm"])
          tensors.set(`${block}.self_attn.${norm}.weight`, [headDim]);
    }
    for (const norm of norms) tensors.set(`${block}.${norm}.weight`, [hidden]);
  }
  tensors.set("model.norm.weight", [hidden]);
  if (!config.tieWordEmbeddings) tensors.set(`${head.path}.weight`, [vocab, hidden]);
  return tensors;
};

/** Sizes of a decoder's config.json that its tensors show. */
export const decoderSizes = (config: DecoderConfig, shapeOf: ShapeOf): readonly ShownSize[] => {
  const size = (name: string, axis: number): number | undefined => shapeOf(name)?.[axis];
  const block = `${layerPath(0)}.`;
  const { query, keyValue } = projectionWidths(config);
  const ofProjections: readonly ShownSize[] = config.fused
    ? [
        [
          "num_attention_heads and num_key_value_heads, twice, times head_dim",
          query + 2 * keyValue,
          size(`${block}self_attn.qkv_proj.weight`, 0),
        ],
      ]
    : [
        ["num_attention_heads times head_dim", query, size(`${block}self_attn.q_proj.weight`, 0)],
        [
          "num_key_value_heads times head_dim",
          keyValue,
          size(`${block}self_attn.k_proj.weight`, 0),
        ],
      ];
  return [
    ["vocab_size", config.vocabSize, size(embeddingName, 0)],
    ["hidden_size", config.hiddenSize, size("model.norm.weight", 0) ?? size(embeddingName, 1)],
    ["intermediate_size", config.intermediateSize, size(`${block}mlp.down_proj.weight`, 1)],
    ...ofProjections,
  ];
};
