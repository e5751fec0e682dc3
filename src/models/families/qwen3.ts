import { flag, JsonFields } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { decoderModel } from "../blocks/decoder.js";
import { readDecoderFields, type DecoderConfig } from "../blocks/decoder-config.js";
import { readUpperWindows } from "../blocks/layer-windows.js";
import { defineFamily } from "../family.js";

/**
 * The config.json of a Qwen3: a Llama whose queries and keys are normed head by head; heads are 128 wide unless it says otherwise.
 *
 * Source: Qwen3Config of transformers 5.24.
 */
const readConfig = (raw: JsonObject, faults: string[]): DecoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const shared = readDecoderFields(raw, faults, {
    ...{ modelType: "qwen3", kvHeads: 32, headDim: 128, maxPositionEmbeddings: 32768 },
  });
  const bias = fields.optional("attention_bias", flag, false);
  return {
    ...shared,
    ...{ qkvBias: bias, outputBias: bias, mlpBias: false, headNorms: true },
    windows: readUpperWindows(fields, shared.layers),
  };
};

/** Source: Yang et al., "Qwen3 Technical Report", 2025; modeling_qwen3.py of transformers. */
export const qwen3 = defineFamily({ readConfig, model: decoderModel });
