import { isFloat } from "../core/dtype.js";
import { userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import { flag, JsonFields, positive, share, size } from "../core/json-fields.js";
import { isJsonObject } from "../core/json.js";
import type { TensorEntry } from "./weights/safetensors.js";
import {
  blocksOf,
  compareTensors,
  nameDifference,
  type TensorFaults,
} from "./weights/tensor-faults.js";

/** The embedding's tensor, and the head's where it is not the same one. */
export const EMBEDDINGS = "model.embed_tokens.weight";
export const OUTPUT_HEAD = "lm_head.weight";

/** How the rotary frequencies are stretched for longer texts; null: not at all. */
export type RopeScaling =
  | null
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

/** What config.json says of a Llama, checked, with transformers' defaults filled in. */
export interface LlamaConfig {
  readonly modelType: "llama";
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`: each key/value head serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  /** Even; heads * headDim may differ from hiddenSize. */
  readonly headDim: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  readonly maxPositionEmbeddings: number;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  /** Biases on q, k, v and o. */
  readonly attentionBias: boolean;
  /** Biases on gate, up and down. */
  readonly mlpBias: boolean;
  /** Active in training only; 0 in every released Llama. */
  readonly attentionDropout: number;
  readonly hiddenAct: "silu";
  readonly bosId: number | undefined;
  /** A model may have several tokens that end a text. */
  readonly eosIds: readonly number[];
  readonly padId: number | undefined;
}

const isTokenId = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/**
 * Token ids that a config file gives under `name`: none, one number or a list of them.
 *
 * @param fallback for a field that is absent; null in the file means none
 */
export const readTokenIds = (
  config: JsonObject,
  name: string,
  faults: string[],
  fallback: readonly number[] = [],
): readonly number[] => {
  const value = config[name];
  if (value === undefined) return fallback;
  if (value === null) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  // Some files say -1 for "none".
  if (ids.every((id) => id === -1)) return [];
  if (ids.every(isTokenId)) return ids;
  faults.push(`"${name}": found ${quoteJson(value)}, expected a token id or a list of them`);
  return fallback;
};

/** transformers 4 has rope_theta and rope_scaling at the top, transformers 5 rope_parameters with both. */
const readRope = (
  raw: JsonObject,
  maxPositionEmbeddings: number,
  faults: string[],
): { ropeTheta: number; ropeScaling: RopeScaling } => {
  const place = (raw.rope_scaling ?? undefined) === undefined ? "rope_parameters" : "rope_scaling";
  const given = raw[place] ?? {};
  if (!isJsonObject(given)) {
    faults.push(`"${place}": found ${quoteJson(given)}, expected an object or null`);
    return { ropeTheta: NaN, ropeScaling: null };
  }
  const fields = new JsonFields(given, `${place}.`, faults);
  const top = new JsonFields(raw, "", faults);
  const ropeTheta =
    fields.value("rope_theta") === undefined
      ? top.optional("rope_theta", positive, 10000)
      : fields.number("rope_theta", positive);
  for (const source of [fields, top]) {
    const rotated = source.value("partial_rotary_factor");
    if (rotated !== undefined && rotated !== 1)
      source.fault("partial_rotary_factor", "1: only whole heads are rotated here");
  }

  const typeField = fields.value("rope_type") === undefined ? "type" : "rope_type";
  const type = fields.value(typeField) ?? "default";
  switch (type) {
    case "default":
      return { ropeTheta, ropeScaling: null };
    case "linear":
      return {
        ropeTheta,
        ropeScaling: { type: "linear", factor: fields.number("factor", positive) },
      };
    case "llama3": {
      const scaling = {
        type: "llama3",
        factor: fields.number("factor", positive),
        lowFreqFactor: fields.number("low_freq_factor", positive),
        highFreqFactor: fields.number("high_freq_factor", positive),
        originalMaxPositionEmbeddings:
          top.value("original_max_position_embeddings") === undefined
            ? fields.optional("original_max_position_embeddings", size, maxPositionEmbeddings)
            : top.number("original_max_position_embeddings", size),
      } as const;
      if (scaling.highFreqFactor <= scaling.lowFreqFactor)
        fields.fault(
          "high_freq_factor",
          `more than low_freq_factor (${String(scaling.lowFreqFactor)})`,
        );
      return { ropeTheta, ropeScaling: scaling };
    }
    default:
      fields.fault(typeField, 'one of "default", "linear", "llama3"');
      return { ropeTheta, ropeScaling: null };
  }
};

/**
 * Checks the config.json of a Llama and fills in what it leaves out, as transformers does.
 *
 * Source: LlamaConfig of transformers 5.23 and its conversion of older rope fields.
 * @param where names the file in errors
 * @throws {UserError} one that lists every field that is missing, has a wrong type or is not supported
 */
export const parseLlamaConfig = (raw: JsonObject, where: string): LlamaConfig => {
  const faults: string[] = [];
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.number("hidden_size", size);
  const heads = fields.number("num_attention_heads", size);
  const kvHeads = fields.optional("num_key_value_heads", size, heads);
  const headDim = fields.optional("head_dim", size, hiddenSize / heads);
  const maxPositionEmbeddings = fields.optional("max_position_embeddings", size, 2048);
  if (heads % kvHeads > 0)
    fields.fault("num_key_value_heads", `a divisor of num_attention_heads (${String(heads)})`);
  if (headDim % 1 > 0)
    fields.fault(
      "hidden_size",
      `a multiple of num_attention_heads (${String(heads)}), or a head_dim`,
    );
  else if (headDim % 2 > 0) {
    if (fields.value("head_dim") !== undefined) fields.fault("head_dim", "an even number");
    else fields.fault("hidden_size", `an even number for each of the ${String(heads)} heads`);
  }
  if ((fields.value("hidden_act") ?? "silu") !== "silu") fields.fault("hidden_act", '"silu"');
  if (fields.value("quantization_config") !== undefined)
    fields.fault(
      "quantization_config",
      "none: quantized weights are not read, use the original model",
    );

  const config: LlamaConfig = {
    modelType: "llama",
    vocabSize: fields.number("vocab_size", size),
    hiddenSize,
    intermediateSize: fields.number("intermediate_size", size),
    layers: fields.number("num_hidden_layers", size),
    heads,
    kvHeads,
    headDim,
    ...readRope(raw, maxPositionEmbeddings, faults),
    maxPositionEmbeddings,
    rmsNormEps: fields.optional("rms_norm_eps", positive, 1e-6),
    tieWordEmbeddings: fields.optional("tie_word_embeddings", flag, false),
    attentionBias: fields.optional("attention_bias", flag, false),
    mlpBias: fields.optional("mlp_bias", flag, false),
    attentionDropout: fields.optional("attention_dropout", share, 0),
    hiddenAct: "silu",
    bosId: readTokenIds(raw, "bos_token_id", faults, [1])[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults, [2]),
    padId: readTokenIds(raw, "pad_token_id", faults)[0],
  };
  if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${where}`, faults);
  return config;
};

/** The sizes of one linear layer: y [.., outFeatures] = x [.., inFeatures] W^T, W [outFeatures, inFeatures]. */
export interface LinearSize {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

/**
 * The linear layers inside the blocks by module path (`model.layers.0.self_attn.q_proj`), in the order of computation.
 *
 * These are what an adapter may target; lm_head and the embedding are not among them.
 */
export const llamaLinears = (config: LlamaConfig): ReadonlyMap<string, LinearSize> => {
  const { hiddenSize: hidden, intermediateSize: intermediate, attentionBias, mlpBias } = config;
  const query = config.heads * config.headDim;
  const keyValue = config.kvHeads * config.headDim;
  const ofBlock: readonly (readonly [
    string,
    inFeatures: number,
    outFeatures: number,
    bias: boolean,
  ])[] = [
    ["self_attn.q_proj", hidden, query, attentionBias],
    ["self_attn.k_proj", hidden, keyValue, attentionBias],
    ["self_attn.v_proj", hidden, keyValue, attentionBias],
    ["self_attn.o_proj", query, hidden, attentionBias],
    ["mlp.gate_proj", hidden, intermediate, mlpBias],
    ["mlp.up_proj", hidden, intermediate, mlpBias],
    ["mlp.down_proj", intermediate, hidden, mlpBias],
  ];
  const linears = new Map<string, LinearSize>();
  for (let layer = 0; layer < config.layers; layer++)
    for (const [name, inFeatures, outFeatures, bias] of ofBlock)
      linears.set(`model.layers.${String(layer)}.${name}`, { inFeatures, outFeatures, bias });
  return linears;
};

/**
 * Every tensor of the model by its Hugging Face name, with its shape; weights are [outFeatures, inFeatures]. In the order of
 * transformers' state_dict, in which shards are filled.
 *
 * `lm_head.weight` is absent where it is tied to `model.embed_tokens.weight`.
 */
export const llamaTensors = (config: LlamaConfig): ReadonlyMap<string, readonly number[]> => {
  const { hiddenSize: hidden, vocabSize: vocab } = config;
  const tensors = new Map<string, readonly number[]>([[EMBEDDINGS, [vocab, hidden]]]);
  const linears = [...llamaLinears(config)];
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `model.layers.${String(layer)}.`;
    for (const [path, { inFeatures, outFeatures, bias }] of linears) {
      if (!path.startsWith(block)) continue;
      tensors.set(`${path}.weight`, [outFeatures, inFeatures]);
      if (bias) tensors.set(`${path}.bias`, [outFeatures]);
    }
    tensors.set(`${block}input_layernorm.weight`, [hidden]);
    tensors.set(`${block}post_attention_layernorm.weight`, [hidden]);
  }
  tensors.set("model.norm.weight", [hidden]);
  if (!config.tieWordEmbeddings) tensors.set(OUTPUT_HEAD, [vocab, hidden]);
  return tensors;
};

/** Tensors that some files hold although the model computes or shares them. */
const isRedundant = (name: string, { tieWordEmbeddings }: LlamaConfig): boolean =>
  name.endsWith(".rotary_emb.inv_freq") || (name === OUTPUT_HEAD && tieWordEmbeddings);

/** Sizes that a Llama's tensors show, by the words of config.json, beside what it says of them. */
const shownSizes = (
  config: LlamaConfig,
  entries: ReadonlyMap<string, TensorEntry>,
): readonly (readonly [name: string, says: number, shows: number | undefined])[] => {
  const size = (name: string, axis: number): number | undefined => entries.get(name)?.shape[axis];
  const block = "model.layers.0.";
  return [
    ["vocab_size", config.vocabSize, size(EMBEDDINGS, 0)],
    ["hidden_size", config.hiddenSize, size("model.norm.weight", 0) ?? size(EMBEDDINGS, 1)],
    ["intermediate_size", config.intermediateSize, size(`${block}mlp.gate_proj.weight`, 0)],
    ["num_hidden_layers", config.layers, blocksOf(entries.keys()) || undefined],
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

/** What faulty tensors have in common: their names, or sizes that config.json says and the weights do not show. */
const inCommon = (
  config: LlamaConfig,
  entries: ReadonlyMap<string, TensorEntry>,
  found: TensorFaults,
): string | undefined => {
  const names = nameDifference(found);
  if (names !== undefined) return `In common: ${names}`;
  const differing = shownSizes(config, entries).filter(
    ([, says, shows]) => shows !== undefined && shows !== says,
  );
  if (differing.length === 0) return undefined;
  return `In common: ${differing.map(([name, says, shows]) => `config.json says ${name} ${String(says)}, the weights have ${String(shows)}`).join("; ")}`;
};

const hintOf = (
  config: LlamaConfig,
  entries: ReadonlyMap<string, TensorEntry>,
): string | undefined => {
  const key = entries.get("model.layers.0.self_attn.k_proj.weight")?.shape[0];
  if (key !== undefined && key !== config.kvHeads * config.headDim && key % config.headDim === 0)
    return `config.json says num_key_value_heads ${String(config.kvHeads)}, or nothing: give the value the model was trained with (here ${String(key / config.headDim)})`;
  if (entries.has("embed_tokens.weight") && !entries.has(EMBEDDINGS))
    return "A model without its head was saved: load and save it once as a whole in transformers, with AutoModelForCausalLM";
  if (!config.tieWordEmbeddings && entries.has(EMBEDDINGS) && !entries.has(OUTPUT_HEAD))
    return 'Where the output layer shares the embedding, config.json says "tie_word_embeddings": true';
  return undefined;
};

/**
 * Checks that the files hold the very tensors that the config asks for.
 *
 * @param where names the files in errors
 * @throws {UserError} one that lists every tensor that is missing, misshapen, not of a float dtype or not the model's
 */
export const checkLlamaTensors = (
  config: LlamaConfig,
  entries: ReadonlyMap<string, TensorEntry>,
  where: string,
): void => {
  const present = new Map([...entries].filter(([name]) => !isRedundant(name, config)));
  const found = compareTensors(llamaTensors(config), present, {
    types: {
      accepts: (dtype) => isFloat(dtype) && dtype !== "float64",
      words: "float32, float16 or bfloat16",
    },
    others: "no such tensor in this model",
  });
  if (found.lines.length > 0)
    throw userErrorOfFaults(
      `Cannot load weights from ${where}`,
      found.lines,
      hintOf(config, entries),
      inCommon(config, entries, found),
    );
};

/** Inverse frequencies [headDim / 2] before scaling, rounded to float32 after each step as PyTorch does. */
const inverseFrequencies = ({ ropeTheta, headDim }: LlamaConfig): number[] =>
  Array.from({ length: headDim / 2 }, (_, i) =>
    Math.fround(1 / Math.fround(ropeTheta ** Math.fround((2 * i) / headDim))),
  );

const scaleFrequency = (frequency: number, scaling: RopeScaling): number => {
  const { fround } = Math;
  if (scaling === null) return frequency;
  const { factor } = scaling;
  if (scaling.type === "linear") return fround(frequency / factor);
  const {
    lowFreqFactor: low,
    highFreqFactor: high,
    originalMaxPositionEmbeddings: length,
  } = scaling;
  // Long waves are stretched, short ones kept, and those between are mixed.
  const wavelength = fround((2 * Math.PI) / frequency);
  if (wavelength > length / low) return fround(frequency / factor);
  if (wavelength < length / high) return frequency;
  const smooth = fround(fround(fround(length / wavelength) - low) / (high - low));
  return fround(
    fround(fround(fround(1 - smooth) * frequency) / factor) + fround(smooth * frequency),
  );
};

/**
 * Rotary tables of the positions 0 ... positions - 1: cos and sin of position * inverse frequency.
 *
 * Frequencies and angles are rounded to float32 where transformers rounds them: at position 8,000 one bit of a frequency
 * moves the cosine by 5e-4. Column i belongs to the elements i and i + headDim / 2 of a head.
 * Source: Su et al., "RoFormer", 2021; llama3 scaling as in Meta's Llama 3.1 release and transformers 5.23.
 * @returns cos and sin, each float32 [positions, headDim / 2]
 */
export const ropeTable = (
  config: LlamaConfig,
  positions: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } => {
  const frequencies = inverseFrequencies(config).map((f) => scaleFrequency(f, config.ropeScaling));
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    frequencies.forEach((frequency, i) => {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    });
  }
  return { cos, sin };
};
