import { flag, type JsonFields, size } from "../../core/json-fields.js";
import { quoteJson } from "../../core/json-file.js";

const kinds = { full_attention: false, sliding_attention: true } as const;

/** layer_types of config.json; undefined where it is missing. Wrong ones are a fault. */
const readLayerTypes = (fields: JsonFields, layers: number): readonly boolean[] | undefined => {
  const value = fields.value("layer_types");
  if (value === undefined) return undefined;
  const isKind = (kind: unknown): kind is keyof typeof kinds =>
    typeof kind === "string" && Object.hasOwn(kinds, kind);
  if (!Array.isArray(value) || value.length !== layers || !value.every(isKind)) {
    fields.fault(
      "layer_types",
      `for each of the ${String(layers)} layers one of ${Object.keys(kinds).map(quoteJson).join(", ")}`,
    );
    return undefined;
  }
  return value.map((kind) => kinds[kind]);
};

/**
 * By layer, how far back it sees, where layers of two kinds alternate: layer_types says which slide, else `slides`. Without a
 * window none does.
 *
 * @param options.isOn whether sliding_window counts
 */
export const readLayerWindows = (
  fields: JsonFields,
  layers: number,
  {
    slides,
    isOn,
    fallback,
  }: {
    readonly slides: (layer: number) => boolean;
    readonly isOn: boolean;
    readonly fallback: number;
  },
): readonly (number | undefined)[] => {
  if (!Number.isSafeInteger(layers)) return [];
  const types = readLayerTypes(fields, layers);
  const window = isOn ? fields.optional("sliding_window", size, fallback) : undefined;
  return Array.from({ length: layers }, (_, layer) =>
    (types?.[layer] ?? slides(layer)) ? window : undefined,
  );
};

/** Windows from layer max_window_layers on, where use_sliding_window says so. Source: Qwen2Config of transformers 5.24. */
export const readUpperWindows = (
  fields: JsonFields,
  layers: number,
): readonly (number | undefined)[] => {
  const first = fields.optional("max_window_layers", size, 28);
  const isOn = fields.optional("use_sliding_window", flag, false);
  return readLayerWindows(fields, layers, {
    slides: (layer) => layer >= first,
    isOn: isOn && fields.value("sliding_window") !== undefined,
    fallback: 4096,
  });
};
