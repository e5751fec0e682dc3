import type { JsonObject } from "../../core/json-file.js";
import { JsonFields } from "../../core/json-fields.js";
import { flag } from "../../core/json-fields.js";
import { decoderModel } from "../blocks/decoder.js";
import { everyLayer, readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Llama, with what it leaves out filled in as transformers does.
 *
 * Source: LlamaConfig of transformers 5.23 and its conversion of older rope fields.
 */
export const readLlamaConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const attentionBias = fields.optional("attention_bias", flag, false);
  const shared = readDecoderFields(raw, faults, { modelType: "llama", bosId: 1, eosId: 2 });
  return {
    ...shared,
    qkvBias: attentionBias,
    outputBias: attentionBias,
    mlpBias: fields.optional("mlp_bias", flag, false),
    headNorms: false,
    windows: everyLayer(shared, undefined),
  };
};

/** Source: Touvron et al., "LLaMA"; modeling_llama.py of transformers. */
export const llama = defineFamily({ readConfig: readLlamaConfig, model: decoderModel });
