import type { JsonObject } from "../../core/json-file.js";
import { quoteJson } from "../../core/json-file.js";
import { readRope, type RopeScaling } from "../blocks/rope-config.js";
import type { Model } from "../model.js";
import type { ExtraTensor, WrittenArchitecture } from "./architecture.js";
import type { GgufFields } from "./gguf-fields.js";
import type { GgufTensor } from "./read-gguf.js";
import { ropeFactors } from "./rope-factors.js";
import type { GgufEntries, GgufTyped } from "./write-gguf.js";

/** The Hugging Face names of a block's parts that Llamas have. */
const inBlock: ReadonlyMap<string, string> = new Map([
  ["attn_norm", "input_layernorm"],
  ["attn_q", "self_attn.q_proj"],
  ["attn_k", "self_attn.k_proj"],
  ["attn_v", "self_attn.v_proj"],
  ["attn_q_norm", "self_attn.q_norm"],
  ["attn_k_norm", "self_attn.k_norm"],
  ["attn_output", "self_attn.o_proj"],
  ["ffn_norm", "post_attention_layernorm"],
  ["ffn_gate", "mlp.gate_proj"],
  ["ffn_up", "mlp.up_proj"],
  ["ffn_down", "mlp.down_proj"],
]);
const atTop: ReadonlyMap<string, string> = new Map([
  ["token_embd.weight", "model.embed_tokens.weight"],
  ["output_norm.weight", "model.norm.weight"],
  ["output.weight", "lm_head.weight"],
]);
const blockTensor = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/;
const layerTensor = /^model\.layers\.(\d+)\.([\w.]+)\.(weight|bias)$/;

const inverted = (map: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...map].map(([key, value]) => [value, key]));
const topOf = inverted(atTop);

/** How decoders differ, by what their files say. */
export interface DecoderArchitecture {
  /** general.architecture, with which the keys begin. */
  readonly name: string;
  /** The model_types of config.json that are written so; none where files are only read. */
  readonly modelTypes: readonly string[];
  /** Whether the rotary pairs of queries and keys stand side by side (ggml's "norm" rope), not half a head apart ("neox"). */
  readonly paired: boolean;
  /** What config.json says beside what all of them have; `window` as the file says it. */
  readonly own: (file: {
    readonly hasBias: (part: string) => boolean;
    readonly has: (tensor: string) => boolean;
    readonly window: number | undefined;
    readonly headDim: number;
    readonly fields: GgufFields;
  }) => JsonObject;
  /** Whether a window of all layers is read and written. */
  readonly windows: boolean;
  /** Parts of a block that are called otherwise than Llama's, or that Llama does not have. */
  readonly parts?: Readonly<Record<string, string>>;
  /** Whether heads may be rotated in part. */
  readonly partial?: boolean;
}

/** The tokens that a token sees, where they are fewer than there are; what is none is a fault. */
const windowOf = (
  fields: GgufFields,
  { name, windows }: DecoderArchitecture,
  context: number,
): number | undefined => {
  const key = `${name}.attention.sliding_window`;
  const value = fields.metadata.get(key);
  if (typeof value !== "number" || value === 0 || value >= context) return undefined;
  if (!windows) fields.fault(key, "none: windows are not read from files of this architecture");
  return fields.size(key);
};

const readConfig = (
  architecture: DecoderArchitecture,
  fields: GgufFields,
  tensors: ReadonlyMap<string, GgufTensor>,
): JsonObject => {
  const key = (name: string): string => `${architecture.name}.${name}`;
  const hidden = fields.size(key("embedding_length"));
  const heads = fields.size(key("attention.head_count"));
  const headDim = fields.size(key("attention.key_length"), hidden / heads);
  const kvHeads = fields.size(key("attention.head_count_kv"), heads);
  const context = fields.size(key("context_length"));
  if (fields.has(key("expert_count")) && fields.metadata.get(key("expert_count")) !== 0)
    fields.fault(key("expert_count"), "none: mixtures of experts are not read");
  const whole = [["rope.dimension_count", `${String(headDim)}: only whole heads are rotated here`]];
  for (const [name = "", expected = ""] of [
    ["attention.value_length", `${String(headDim)}, the size of a key`],
    ...(architecture.partial ? [] : whole),
  ])
    if (fields.has(key(name)) && fields.size(key(name)) !== headDim)
      fields.fault(key(name), expected);
  const scaling = fields.text(key("rope.scaling.type")) ?? "none";
  if (scaling !== "none" && scaling !== "linear")
    fields.fault(key("rope.scaling.type"), '"none" or "linear"');
  const hasBias = (part: string): boolean => tensors.has(`blk.0.${part}.bias`);
  const own = architecture.own({
    hasBias,
    has: (tensor) => tensors.has(tensor),
    window: windowOf(fields, architecture, context),
    ...{ headDim, fields },
  });
  return {
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: fields.size(key("feed_forward_length")),
    num_hidden_layers: fields.size(key("block_count")),
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    // A family may have a default of its own.
    ...((headDim * heads !== hidden || own.model_type === "qwen3") && { head_dim: headDim }),
    max_position_embeddings: context,
    rms_norm_eps: fields.positive(key("attention.layer_norm_rms_epsilon"), 1e-6),
    rope_theta: fields.positive(key("rope.freq_base"), 10000),
    rope_scaling:
      scaling === "none"
        ? null
        : { rope_type: scaling, factor: fields.positive(key("rope.scaling.factor")) },
    attention_dropout: 0,
    ...own,
  };
};

/** How rope's scaling stands in a file: as metadata, or as a factor for every frequency. */
const writeRope = (
  scaling: RopeScaling,
  { theta, headDim }: { readonly theta: number; readonly headDim: number },
  key: (name: string) => string,
): { readonly metadata: GgufEntries; readonly extra: readonly ExtraTensor[] } | undefined => {
  if (scaling === null) return { metadata: [], extra: [] };
  if (scaling.type === "linear")
    return {
      metadata: [
        [key("rope.scaling.type"), { text: "linear" }],
        [key("rope.scaling.factor"), { float32: scaling.factor }],
      ],
      extra: [],
    };
  if (scaling.type === "llama3")
    return {
      metadata: [],
      extra: [{ name: "rope_freqs.weight", values: ropeFactors(scaling, theta, headDim / 2) }],
    };
  return undefined;
};

const writeConfig = (
  architecture: DecoderArchitecture,
  model: Model,
  rawConfig: JsonObject,
  faults: string[],
): ReturnType<WrittenArchitecture["write"]> => {
  const key = (name: string): string => `${architecture.name}.${name}`;
  const { headDim, maxPositionEmbeddings: context } = model;
  const { ropeTheta: theta, ropeScaling } = readRope(rawConfig, faults, {
    headDim,
    maxPositionEmbeddings: context,
  });
  const activation = rawConfig.hidden_act ?? "silu";
  if (activation !== "silu")
    faults.push(`"hidden_act": found ${quoteJson(activation)}, expected "silu"`);
  const rope = writeRope(ropeScaling, { theta, headDim }, key);
  if (!rope)
    faults.push(
      `"rope_scaling": found ${quoteJson(rawConfig.rope_scaling ?? rawConfig.rope_parameters)}, expected none, linear or llama3: others are not written`,
    );
  const windows = [...new Set(model.windows.map((window) => window ?? context))];
  const [window = context] = windows;
  const hasWindow = windows.some((size) => size < context);
  if (hasWindow && (windows.length > 1 || !architecture.windows))
    faults.push(
      `"sliding_window": found windows of ${windows.join(" and ")} tokens, expected none: llama.cpp has none for ${architecture.name}`,
    );
  const size = (name: string, value: number): readonly [string, GgufTyped] => [
    key(name),
    { uint32: value },
  ];
  return {
    metadata: [
      size("block_count", model.layers),
      size("context_length", context),
      size("embedding_length", model.hiddenSize),
      size("feed_forward_length", model.intermediateSize),
      size("attention.head_count", model.heads),
      size("attention.head_count_kv", model.kvHeads),
      size("attention.key_length", headDim),
      size("attention.value_length", headDim),
      [
        key("attention.layer_norm_rms_epsilon"),
        { float32: typeof rawConfig.rms_norm_eps === "number" ? rawConfig.rms_norm_eps : 1e-6 },
      ],
      ...(hasWindow ? [size("attention.sliding_window", window)] : []),
      [key("rope.freq_base"), { float32: theta }],
      size("rope.dimension_count", headDim),
      ...(rope?.metadata ?? []),
      size("vocab_size", model.vocabSize),
    ],
    extra: rope?.extra ?? [],
    warnings: hasWindow
      ? [
          `llama.cpp has no attention windows for this model: of texts beyond ${String(window)} tokens it sees all, where transformers and hira see the last ${String(window)}`,
        ]
      : [],
  };
};

/**
 * A decoder whose tensors have Llama's names.
 *
 * Source: MODEL_TENSORS and TENSOR_NAMES of gguf 0.19; the classes of llama.cpp's convert_hf_to_gguf.py.
 */
export const decoderArchitecture = (architecture: DecoderArchitecture): WrittenArchitecture => {
  const nameByPart = new Map([...inBlock, ...Object.entries(architecture.parts ?? {})]);
  const partByName = inverted(nameByPart);
  return {
    config: (fields, tensors) => readConfig(architecture, fields, tensors),
    nameOf(tensor) {
      const [, layer, part = "", kind] = blockTensor.exec(tensor) ?? [];
      if (layer === undefined) return atTop.get(tensor);
      const name = nameByPart.get(part);
      return name === undefined
        ? undefined
        : `model.layers.${String(Number(layer))}.${name}.${kind ?? ""}`;
    },
    ggufNameOf(tensor) {
      const [, layer, part = "", kind] = layerTensor.exec(tensor) ?? [];
      if (layer === undefined) return topOf.get(tensor);
      const name = partByName.get(part);
      return name === undefined ? undefined : `blk.${layer}.${name}.${kind ?? ""}`;
    },
    pairedHeads(tensor, config) {
      const part = blockTensor.exec(tensor)?.[2];
      if (!architecture.paired) return undefined;
      if (part === "attn_q") return Number(config.num_attention_heads);
      return part === "attn_k" ? Number(config.num_key_value_heads) : undefined;
    },
    modelTypes: architecture.modelTypes,
    write: (model, rawConfig, faults) => writeConfig(architecture, model, rawConfig, faults),
  };
};
