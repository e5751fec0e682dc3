import { JsonFields } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { readUpperWindows } from "../blocks/layer-windows.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Qwen2: a Llama with biases on q, k and v.
 *
 * Source: Qwen2Config of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const shared = readDecoderFields(raw, faults, {
    ...{ modelType: "qwen2", kvHeads: 32, maxPositionEmbeddings: 32768 },
  });
  return {
    ...shared,
    ...{ qkvBias: true, outputBias: false, mlpBias: false, headNorms: false },
    windows: readUpperWindows(fields, shared.layers),
  };
};

/** Source: Yang et al., "Qwen2 Technical Report", 2024; modeling_qwen2.py of transformers. */
export const qwen2 = defineFamily({ readConfig, model: decoderModel });
