import { flag, JsonFields, positive, size, type Kind } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { quoteJson } from "../../core/json-file.js";
import { isJsonObject } from "../../core/json.js";

/** How the rotary frequencies are stretched for longer texts; null: not at all. */
export type RopeScaling =
  | null
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      /** Of cosines and sines. */
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      readonly originalMaxPositionEmbeddings: number;
    }
  | {
      readonly type: "longrope";
      /** Of cosines and sines. */
      readonly attentionFactor: number;
      /** By which each frequency is divided, [rotaryDim / 2], in rows of up to originalMaxPositionEmbeddings tokens. */
      readonly shortFactor: readonly number[];
      /** The same in longer rows. */
      readonly longFactor: readonly number[];
      readonly originalMaxPositionEmbeddings: number;
    };

/** What rotary tables are made of. */
export interface RopeConfig {
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** How many elements of a head are rotated, the first ones; even. */
  readonly rotaryDim: number;
  readonly maxPositionEmbeddings: number;
}

/** What a family says of its rotary positions beside the file. */
export interface RopeRules {
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
  /** Whether it reads partial_rotary_factor; else that has to be 1. */
  readonly partial?: boolean;
  /** Where the file has no original_max_position_embeddings at its top. */
  readonly originalMaxPositionEmbeddings?: number;
  /** Other names of types. */
  readonly aliases?: Readonly<Record<string, string>>;
}

const numbersOf = (length: number): Kind<readonly number[]> => ({
  name: `a list of ${String(length)} numbers above 0`,
  is: (value): value is readonly number[] =>
    Array.isArray(value) && value.length === length && value.every((item) => positive.is(item)),
});

const atMostOne: Kind<number> = {
  name: "a number above 0, at most 1",
  is: (value): value is number => positive.is(value) && value <= 1,
};

/** The place of rope_parameters in files of either time. */
const placeOf = (raw: JsonObject): "rope_parameters" | "rope_scaling" =>
  (raw.rope_scaling ?? undefined) === undefined ? "rope_parameters" : "rope_scaling";

/** partial_rotary_factor as elements of a head. */
const readRotaryDim = (fields: JsonFields, top: JsonFields, rules: RopeRules): number => {
  const name = "partial_rotary_factor";
  const source = fields.value(name) === undefined ? top : fields;
  const { headDim, partial = false } = rules;
  if (!partial) {
    const given = source.value(name);
    if (given !== undefined && given !== 1)
      source.fault(name, "1: only whole heads are rotated here");
    return headDim;
  }
  const rotaryDim = Math.trunc(headDim * source.optional(name, atMostOne, 1));
  if (rotaryDim % 2 > 0 || rotaryDim === 0)
    source.fault(name, `a share of the ${String(headDim)} elements of a head that is even`);
  return rotaryDim;
};

/** The default is the paper's. Source: Peng et al., "YaRN", 2023; _compute_yarn_parameters of transformers 5.24. */
const yarnAttentionFactor = (fields: JsonFields, factor: number): number => {
  const scale = (mscale: number): number => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const [own, all] = ["mscale", "mscale_all_dim"].map((name) =>
    fields.value(name) === 0 ? 0 : fields.optional(name, positive, 0),
  ) as [number, number];
  return fields.optional(
    "attention_factor",
    positive,
    own > 0 && all > 0 ? scale(own) / scale(all) : scale(1),
  );
};

/** The default is the paper's. Source: Ding et al., "LongRoPE", 2024; _compute_longrope_parameters of transformers 5.24. */
const longropeAttentionFactor = (
  fields: JsonFields,
  maxPositions: number,
  original: number,
): number => {
  const factor = fields.optional("factor", positive, maxPositions / original);
  return fields.optional(
    "attention_factor",
    positive,
    factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)),
  );
};

/**
 * What config.json says of rotary positions; what is wrong is added to `faults`.
 *
 * transformers 4 has rope_theta and rope_scaling at the top, transformers 5 rope_parameters with both; the kind stands in `type`
 * or `rope_type`.
 */
export const readRope = (raw: JsonObject, faults: string[], rules: RopeRules): RopeConfig => {
  const { maxPositionEmbeddings, aliases = {} } = rules;
  const place = placeOf(raw);
  const given = raw[place] ?? {};
  const top = new JsonFields(raw, "", faults);
  const common = { maxPositionEmbeddings, ropeScaling: null };
  if (!isJsonObject(given)) {
    faults.push(`"${place}": found ${quoteJson(given)}, expected an object or null`);
    return { ...common, ropeTheta: NaN, rotaryDim: rules.headDim };
  }
  const fields = new JsonFields(given, `${place}.`, faults);
  const ropeTheta =
    fields.value("rope_theta") === undefined
      ? top.optional("rope_theta", positive, 10000)
      : fields.number("rope_theta", positive);
  const rotaryDim = readRotaryDim(fields, top, rules);
  for (const kind of ["full_attention", "sliding_attention"])
    if (fields.value(kind) !== undefined)
      fields.fault(kind, "none: all layers have the same frequencies here");
  return {
    ...common,
    ropeTheta,
    rotaryDim,
    ropeScaling: readScaling(fields, top, rules, { rotaryDim, aliases }),
  };
};

const readScaling = (
  fields: JsonFields,
  top: JsonFields,
  { maxPositionEmbeddings, originalMaxPositionEmbeddings: ofFamily }: RopeRules,
  {
    rotaryDim,
    aliases,
  }: { readonly rotaryDim: number; readonly aliases: Readonly<Record<string, string>> },
): RopeScaling => {
  const name = "original_max_position_embeddings";
  const original = (): number =>
    top.value(name) === undefined
      ? (ofFamily ?? fields.optional(name, size, maxPositionEmbeddings))
      : top.number(name, size);
  const factor = (): number => fields.number("factor", positive);
  const typeField = fields.value("rope_type") === undefined ? "type" : "rope_type";
  const type = fields.value(typeField) ?? "default";
  const known: unknown =
    typeof type === "string" && Object.hasOwn(aliases, type) ? aliases[type] : type;
  switch (known) {
    case "default":
      return null;
    case "linear":
    case "dynamic":
      return { type: known, factor: factor() };
    case "llama3": {
      const scaling = {
        type: known,
        factor: factor(),
        lowFreqFactor: fields.number("low_freq_factor", positive),
        highFreqFactor: fields.number("high_freq_factor", positive),
        originalMaxPositionEmbeddings: original(),
      } as const;
      if (scaling.highFreqFactor <= scaling.lowFreqFactor)
        fields.fault(
          "high_freq_factor",
          `more than low_freq_factor (${String(scaling.lowFreqFactor)})`,
        );
      return scaling;
    }
    case "yarn": {
      const originalMaxPositionEmbeddings = original();
      const stretched =
        fields.value("factor") === undefined
          ? maxPositionEmbeddings / originalMaxPositionEmbeddings
          : factor();
      return {
        type: known,
        factor: stretched,
        attentionFactor: yarnAttentionFactor(fields, stretched),
        betaFast: fields.optional("beta_fast", positive, 32),
        betaSlow: fields.optional("beta_slow", positive, 1),
        truncate: fields.optional("truncate", flag, true),
        originalMaxPositionEmbeddings,
      };
    }
    case "longrope": {
      const originalMaxPositionEmbeddings = original();
      const list = (field: string): readonly number[] => {
        const kind = numbersOf(rotaryDim / 2);
        if (fields.value(field) === undefined) fields.fault(field, kind.name);
        return fields.optional(field, kind, []);
      };
      return {
        type: known,
        attentionFactor: longropeAttentionFactor(
          fields,
          maxPositionEmbeddings,
          originalMaxPositionEmbeddings,
        ),
        shortFactor: list("short_factor"),
        longFactor: list("long_factor"),
        originalMaxPositionEmbeddings,
      };
    }
    default:
      fields.fault(
        typeField,
        'one of "default", "linear", "dynamic", "yarn", "longrope", "llama3"',
      );
      return null;
  }
};
