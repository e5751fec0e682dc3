import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";

const refusal = (where: string, method: string): UserError =>
  new UserError(
    `Cannot load ${where}: found weights that are quantized already (${method}), expected float32, float16 or bfloat16`,
    "Give the original model; --load_bit=4 or --load_bit=8 quantizes it here",
  );

/** @throws {UserError} if config.json says that the weights are quantized */
export const requireUnquantizedConfig = (raw: JsonObject, where: string): void => {
  const { quantization_config: config } = raw;
  if (!isJsonObject(config)) return;
  const { quant_method: method } = config;
  throw refusal(where, typeof method === "string" ? method : "by a method without a name");
};

/** Ends of the names that quantizing programs give tensors. */
const marks: readonly (readonly [pattern: RegExp, method: string])[] = [
  [/\.(?:qweight|qzeros|g_idx)$/, "GPTQ or AWQ"],
  [/\.weight\.(?:absmax|quant_map|nested_absmax|quant_state\.)|\.SCB$/, "bitsandbytes"],
  [/\.(?:weight_packed|weight_zero_point|weight_shape)$/, "compressed-tensors"],
  [/\.(?:weight_scale|weight_scale_inv|input_scale)$/, "FP8"],
];

/** @throws {UserError} if names of tensors are those of quantized weights */
export const requireUnquantizedNames = (names: Iterable<string>, where: string): void => {
  for (const name of names)
    for (const [pattern, method] of marks) if (pattern.test(name)) throw refusal(where, method);
};
