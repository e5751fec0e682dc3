import { flag, JsonFields, positive } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { readLayerWindows } from "../blocks/layer-windows.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Gemma 2: a Gemma with norms behind attention and MLP too, softcaps of scores and logits, scores scaled by
 * query_pre_attn_scalar^(-1/2), and a window in every other layer, from the first on. A softcap or window of null is none.
 *
 * Source: Gemma2Config of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const shared = readDecoderFields(raw, faults, {
    ...{ modelType: "gemma2", bosId: 2, eosId: 1, padId: 0, headDim: 256, kvHeads: 4 },
    ...{ maxPositionEmbeddings: 8192, tieWordEmbeddings: true },
    ...{ activationField: "hidden_activation", activation: "gelu_pytorch_tanh" },
  });
  if (fields.optional("use_bidirectional_attention", flag, false))
    fields.fault("use_bidirectional_attention", "false: tokens see what stands before them");
  const bias = fields.optional("attention_bias", flag, false);
  const orNone = (name: string, fallback: number): number | undefined =>
    raw[name] === null ? undefined : fields.optional(name, positive, fallback);
  return {
    ...shared,
    ...{ qkvBias: bias, outputBias: bias, mlpBias: false, headNorms: false },
    ...{ gainsAroundOne: true, normsBehind: true },
    embeddingScale: Math.fround(Math.sqrt(shared.hiddenSize)),
    scoreScale: fields.optional("query_pre_attn_scalar", positive, 256) ** -0.5,
    scoreSoftcap: orNone("attn_logit_softcapping", 50),
    logitSoftcap: orNone("final_logit_softcapping", 30),
    windows: readLayerWindows(fields, shared.layers, {
      slides: (layer) => layer % 2 === 0,
      isOn: raw.sliding_window !== null,
      fallback: 4096,
    }),
  };
};

/** Source: Gemma Team, "Gemma 2", 2024; modeling_gemma2.py of transformers. */
export const gemma2 = defineFamily({ readConfig, model: decoderModel });
