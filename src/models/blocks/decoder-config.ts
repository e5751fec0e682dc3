import { JsonFields, flag, positive, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import type { ModelSizes, ModelTokenIds } from "../model.js";
import { readTokenIds } from "../token-ids.js";
import { readActivation, type ActivationName } from "./activations.js";
import { readRope, type RopeConfig, type RopeRules } from "./rope-config.js";

/**
 * A decoder of pre-norm blocks with RMS norms, rotary positions, grouped keys and values and a gated MLP: Llama and those that
 * differ from it by a switch.
 */
export interface DecoderConfig extends ModelSizes, ModelTokenIds, RopeConfig {
  readonly modelType: string;
  readonly rmsNormEps: number;
  /** Of the MLP's gate. */
  readonly activation: ActivationName;
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
  /** Of what attention and MLP add, in training (Phi-3); undefined where the model has no place for it. */
  readonly dropout?: number;
  /** Whether q, k and v are one layer, and gate and up another (Phi-3). */
  readonly fused?: boolean;
  /** Whether norms multiply by 1 + weight (Gemma). */
  readonly gainsAroundOne?: boolean;
  /** Whether what attention and MLP add is normed too (Gemma 2). */
  readonly normsBehind?: boolean;
  /** By which the rows of the embedding are multiplied (Gemma). */
  readonly embeddingScale?: number;
  /** Of attention scores; headDim^(-1/2) unless given. */
  readonly scoreScale?: number;
  /** Scores and logits x become cap * tanh(x / cap) (Gemma 2). */
  readonly scoreSoftcap?: number | undefined;
  readonly logitSoftcap?: number | undefined;
}

/** What a family's config class of transformers fills in. */
export interface DecoderDefaults {
  readonly modelType: string;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  readonly maxPositionEmbeddings?: number;
  /** Where it is no quotient of hidden_size and heads. */
  readonly headDim?: number;
  readonly kvHeads?: number;
  readonly rmsNormEps?: number;
  readonly tieWordEmbeddings?: boolean;
  /** The field that names the activation, hidden_act unless given, and what it says by default: silu unless given. */
  readonly activationField?: string;
  readonly activation?: ActivationName;
  readonly rope?: Omit<RopeRules, "headDim" | "maxPositionEmbeddings">;
}

/** What decoders have in common. */
export type SharedFields = Omit<
  DecoderConfig,
  "qkvBias" | "outputBias" | "mlpBias" | "headNorms" | "windows"
>;

/** The same window in every layer. */
export const everyLayer = (
  { layers }: Pick<SharedFields, "layers">,
  window: number | undefined,
): readonly (number | undefined)[] =>
  // A wrong number of layers is told of elsewhere.
  Number.isSafeInteger(layers) ? Array<number | undefined>(layers).fill(window) : [];

/**
 * The fields of config.json that decoders share; what is wrong is added to `faults`.
 */
export const readDecoderFields = (
  raw: JsonObject,
  faults: string[],
  defaults: DecoderDefaults,
): SharedFields => {
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.number("hidden_size", size);
  const heads = fields.number("num_attention_heads", size);
  const kvHeads = fields.optional("num_key_value_heads", size, defaults.kvHeads ?? heads);
  const headDim = fields.optional("head_dim", size, defaults.headDim ?? hiddenSize / heads);
  const maxPositionEmbeddings = fields.optional(
    "max_position_embeddings",
    size,
    defaults.maxPositionEmbeddings ?? 2048,
  );
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
  if (fields.value("quantization_config") !== undefined)
    fields.fault(
      "quantization_config",
      "none: quantized weights are not read, use the original model",
    );

  const listed = (id: number | undefined): readonly number[] => (id === undefined ? [] : [id]);
  return {
    modelType: defaults.modelType,
    vocabSize: fields.number("vocab_size", size),
    hiddenSize,
    intermediateSize: fields.number("intermediate_size", size),
    layers: fields.number("num_hidden_layers", size),
    heads,
    kvHeads,
    headDim,
    ...readRope(raw, faults, { headDim, maxPositionEmbeddings, ...defaults.rope }),
    rmsNormEps: fields.optional("rms_norm_eps", positive, defaults.rmsNormEps ?? 1e-6),
    activation: readActivation(
      fields,
      defaults.activationField ?? "hidden_act",
      defaults.activation ?? "silu",
    ),
    tieWordEmbeddings: fields.optional(
      "tie_word_embeddings",
      flag,
      defaults.tieWordEmbeddings ?? false,
    ),
    attentionDropout: fields.optional("attention_dropout", share, 0),
    bosId: readTokenIds(raw, "bos_token_id", faults, listed(defaults.bosId))[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults, listed(defaults.eosId)),
    padId: readTokenIds(raw, "pad_token_id", faults, listed(defaults.padId))[0],
  };
};
