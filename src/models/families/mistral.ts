import { JsonFields, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { everyLayer, readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Mistral: a Llama in which a token sees sliding_window tokens back. Where the field is missing, that is
 * 4,096, as in transformers; null is no window.
 *
 * Source: MistralConfig of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const shared = readDecoderFields(raw, faults, {
    ...{ modelType: "mistral", bosId: 1, eosId: 2, kvHeads: 8, maxPositionEmbeddings: 131072 },
  });
  const window =
    raw.sliding_window === null ? undefined : fields.optional("sliding_window", size, 4096);
  return {
    ...shared,
    ...{ qkvBias: false, outputBias: false, mlpBias: false, headNorms: false },
    windows: everyLayer(shared, window),
  };
};

/** Source: Jiang et al., "Mistral 7B", 2023; modeling_mistral.py of transformers. */
export const mistral = defineFamily({ readConfig, model: decoderModel });
