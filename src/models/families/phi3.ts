import { JsonFields, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { everyLayer, readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Phi-3: a Llama in which q, k and v are one layer and gate and up another, each one target, with longrope and heads
 * that are rotated in part. Older files call longrope "su" or "yarn". embd_pdrop has no place in transformers' model either.
 *
 * Source: Phi3Config of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const shared = readDecoderFields(raw, faults, {
    ...{ modelType: "phi3", bosId: 1, eosId: 32000, padId: 32000 },
    ...{ maxPositionEmbeddings: 4096, rmsNormEps: 1e-5 },
    rope: {
      partial: true,
      originalMaxPositionEmbeddings: 4096,
      aliases: { su: "longrope", yarn: "longrope" },
    },
  });
  const window =
    fields.value("sliding_window") === undefined
      ? undefined
      : fields.optional("sliding_window", size, 1);
  return {
    ...shared,
    ...{ qkvBias: false, outputBias: false, mlpBias: false, headNorms: false },
    fused: true,
    dropout: fields.optional("resid_pdrop", share, 0),
    windows: everyLayer(shared, window),
  };
};

/** Source: Abdin et al., "Phi-3 Technical Report", 2024; modeling_phi3.py of transformers. */
export const phi3 = defineFamily({ readConfig, model: decoderModel });
