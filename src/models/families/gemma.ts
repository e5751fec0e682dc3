import { flag, JsonFields } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { everyLayer, readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Gemma: a Llama whose embeddings are multiplied by sqrt(hidden_size), whose norms multiply by 1 + weight and whose
 * gate goes through the tanh form of gelu, which older files call "gelu"; heads are 256 wide unless it says otherwise.
 *
 * Source: GemmaConfig of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const named = raw.hidden_act === "gelu" ? { ...raw, hidden_act: "gelu_pytorch_tanh" } : raw;
  const fields = new JsonFields(named, "", faults);
  const shared = readDecoderFields(named, faults, {
    ...{ modelType: "gemma", bosId: 2, eosId: 1, padId: 0, headDim: 256, kvHeads: 16 },
    ...{ maxPositionEmbeddings: 8192, tieWordEmbeddings: true, activation: "gelu_pytorch_tanh" },
  });
  if (fields.optional("use_bidirectional_attention", flag, false))
    fields.fault("use_bidirectional_attention", "false: tokens see what stands before them");
  const bias = fields.optional("attention_bias", flag, false);
  return {
    ...shared,
    ...{ qkvBias: bias, outputBias: bias, mlpBias: false, headNorms: false },
    gainsAroundOne: true,
    embeddingScale: Math.fround(Math.sqrt(shared.hiddenSize)),
    windows: everyLayer(shared, undefined),
  };
};

/** Source: Gemma Team, "Gemma", 2024; modeling_gemma.py of transformers. */
export const gemma = defineFamily({ readConfig, model: decoderModel });
