import { JsonFields, flag, positive, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { readTokenIds } from "../token-ids.js";
import type { DecoderConfig } from "./decoder.js";
import { readRope } from "./rope.js";

/** What a family's config class of transformers fills in. */
export interface DecoderDefaults {
  readonly modelType: string;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly maxPositionEmbeddings?: number;
  /** Where it is no quotient of hidden_size and heads. */
  readonly headDim?: number;
  readonly kvHeads?: number;
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
  if ((fields.value("hidden_act") ?? "silu") !== "silu") fields.fault("hidden_act", '"silu"');
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
    ...readRope(raw, maxPositionEmbeddings, faults),
    maxPositionEmbeddings,
    rmsNormEps: fields.optional("rms_norm_eps", positive, 1e-6),
    tieWordEmbeddings: fields.optional("tie_word_embeddings", flag, false),
    attentionDropout: fields.optional("attention_dropout", share, 0),
    bosId: readTokenIds(raw, "bos_token_id", faults, listed(defaults.bosId))[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults, listed(defaults.eosId)),
    padId: readTokenIds(raw, "pad_token_id", faults)[0],
  };
};
