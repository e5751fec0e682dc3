import { JsonFields, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import type { LinearModule } from "../../models/model.js";
import { namePeftTargets, peftPattern, peftTargets } from "../adapter-targets.js";
import { classifierNames, namesToSave, savedTensors, withoutSaved } from "../modules-to-save.js";
import { defaultsOf, formOf, type LinearMethod, type ParameterSpec } from "../method.js";
import { dropoutOptions } from "../options/dropout.js";
import { rankOptions } from "../options/rank.js";
import { linearMethods } from "../registry.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  commonConfig,
  type AdapterBase,
  type AdapterFormat,
  type AdapterTensor,
  type LowRankAdapter,
} from "./format.js";

/** What the method asks of one module's parameters, by their short names; from an adapter's files. */
const parametersOf = (
  { method: name, options, modules }: LowRankAdapter,
  module: LinearModule,
): Readonly<Record<string, ParameterSpec>> => {
  const method: LinearMethod = linearMethods[name];
  const own = { ...defaultsOf(method), ...options, ...modules.get(module.path) };
  return formOf(method, module).parameters(module, own);
};

/** A module's own rank, as its files say. */
export const rankOf = (options: object | undefined): number =>
  ({ ...rankOptions.defaults, ...options }).rank;

/** Short names of a layer's parameters -> ends of their names in the file. */
export interface TensorSuffixes {
  readonly suffixes: Readonly<Record<string, string>>;
  /** Those of an embedding, for methods that have a form for it. */
  readonly embeddingSuffixes?: Readonly<Record<string, string>>;
}

/** The tensors of an adapter's modules, by their ends in the file, then those of the modules that it saves whole. */
export const lowRankTensors = (
  adapter: LowRankAdapter,
  base: AdapterBase,
  { suffixes, embeddingSuffixes = {} }: TensorSuffixes,
): readonly AdapterTensor[] => {
  const ofLayers = base.modules.flatMap((module) => {
    const { path } = module;
    if (!adapter.modules.has(path)) return [];
    const ends = module.table === "embedding" ? embeddingSuffixes : suffixes;
    return Object.entries(parametersOf(adapter, module)).map(
      ([short, { shape, ownAxes = [] }]) => ({
        name: `${path}.${short}`,
        fileName: `base_model.model.${path}.${ends[short] ?? short}`,
        shape,
        ownAxes,
      }),
    );
  });
  const saved = savedTensors(adapter.modulesToSave ?? [], base.saveable);
  return [
    ...ofLayers,
    ...[...saved].map(([name, shape]) => ({
      name,
      fileName: `base_model.model.${name}`,
      shape,
      ownAxes: [],
    })),
  ];
};

/** The suffixes of tensors in a file, each with the short name of its parameter: `suffixes` turned around. */
export const aliasesOf = (
  suffixes: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(suffixes).map(([short, suffix]) => [suffix, short]));

/** The value that most modules have is the config's; the others stand in a pattern, by their whole path. */
export const splitPattern = (
  values: ReadonlyMap<string, number>,
): { readonly common: number; readonly pattern: Readonly<Record<string, number>> } => {
  const counts = new Map<number, number>();
  for (const value of values.values()) counts.set(value, (counts.get(value) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
  return {
    common,
    pattern: Object.fromEntries([...values].filter(([, value]) => value !== common)),
  };
};

const targetConfig = (adapter: LowRankAdapter, base: AdapterBase): JsonObject => {
  const ranks = splitPattern(
    new Map([...adapter.modules].map(([path, options]) => [path, rankOf(options)])),
  );
  return {
    exclude_modules: null,
    // What peft says of layers whose weights lie [in, out].
    fan_in_fan_out: base.modules.some(
      ({ path, layout }) => layout === "in-out" && adapter.modules.has(path),
    ),
    layers_pattern: null,
    r: ranks.common,
    rank_pattern: ranks.pattern,
    modules_to_save: adapter.modulesToSave ?? null,
    ...namePeftTargets(
      [...adapter.modules.keys()],
      withoutSaved(base.modules, adapter.modulesToSave ?? []),
    ),
  };
};

const targetFields = [
  "exclude_modules",
  "layers_pattern",
  "layers_to_transform",
  "modules_to_save",
  "r",
  "rank_pattern",
  "target_modules",
  "task_type",
];

/** The layers that a config adapts, and what it saves whole beside them. What cannot be read is a fault in `fields`. */
const parseTargets = (
  config: JsonObject,
  fields: JsonFields,
  base: AdapterBase,
): {
  readonly targets: readonly LinearModule[];
  readonly saved: Pick<LowRankAdapter, "modulesToSave">;
} => {
  const given = fields.value("modules_to_save") ?? [];
  const isList = Array.isArray(given) && given.every((name) => typeof name === "string");
  const modulesToSave = namesToSave(config, base);
  const unmatched = modulesToSave.filter(
    (name) =>
      savedTensors([name], base.saveable).size === 0 &&
      !(base.taskType === "SEQ_CLS" && classifierNames.includes(name)),
  );
  if (!isList || unmatched.length > 0)
    fields.fault("modules_to_save", "names of modules of this model that hold weights");
  const named = withoutSaved(peftTargets(fields, base.modules), modulesToSave);
  // peft puts the embedding's adapter on a tied head too.
  const tying =
    fields.value("ensure_weight_tying") === true &&
    base.tieWordEmbeddings &&
    named.some(({ table }) => table !== undefined);
  const targets = base.modules.filter(
    (module) => named.includes(module) || (tying && module.table !== undefined),
  );
  return { targets, saved: modulesToSave.length === 0 ? {} : { modulesToSave } };
};

/** What a config says of an adapter beside its layers, their ranks and its dropout. */
interface OwnReading extends Pick<LowRankAdapter, "method"> {
  readonly options?: object;
  /** What else is said of one layer. */
  readonly ofModule?: (path: string) => object;
}

/** How a layout of small matrices differs from the others. */
interface LowRankLayout
  extends Pick<AdapterFormat, "title" | "peftType" | "reads" | "otherReading">, TensorSuffixes {
  readonly writes: (adapter: LowRankAdapter) => boolean;
  readonly dropoutField: "hira_dropout" | "lora_dropout";
  /** The other fields that may stand in the config: read, or without an effect on the numbers. */
  readonly ownFields: readonly string[];
  readonly parseOwn: (fields: JsonFields) => OwnReading;
  /** peft_type and the other fields that the method has for itself. */
  readonly ownConfig: (adapter: LowRankAdapter) => JsonObject;
}

/** The format of a layout: base model, target modules, ranks, dropout and saved modules stand in all of them alike. */
export const lowRankFormat = ({
  title,
  peftType,
  reads,
  otherReading,
  writes,
  dropoutField,
  ownFields,
  parseOwn,
  ownConfig,
  ...ends
}: LowRankLayout): AdapterFormat<LowRankAdapter> => ({
  title,
  peftType,
  reads,
  ...(otherReading && { otherReading }),
  writes: (adapter): adapter is LowRankAdapter => "modules" in adapter && writes(adapter),
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const { targets, saved } = parseTargets(config, fields, base);
    const { ofModule, method, options } = parseOwn(fields);
    const tables = targets.filter(({ table }) => table !== undefined).map(({ path }) => path);
    if (tables.length > 0 && !linearMethods[method].embedding)
      faults.push(
        `"target_modules": found ${tables.join(" and ")}, expected other modules: only LoRA, rsLoRA and DoRA adapt embedding and head here`,
      );
    checkTask(fields, base);
    checkOtherFields(config, [...targetFields, dropoutField, ...ownFields], fields);
    return {
      baseModel: baseModelOf(config),
      modules: new Map(
        targets.map(({ path }) => [path, { rank: rankOf(path), ...ofModule?.(path) }]),
      ),
      ...saved,
      method,
      options: { dropout: fields.optional(dropoutField, share, 0), ...options },
    };
  },
  configOf: (adapter, base) => ({
    ...commonConfig(adapter, base),
    ...targetConfig(adapter, base),
    [dropoutField]: { ...dropoutOptions.defaults, ...adapter.options }.dropout,
    ...ownConfig(adapter),
  }),
  tensors: (adapter, base) => lowRankTensors(adapter, base, ends),
  aliases: { ...aliasesOf(ends.suffixes), ...aliasesOf(ends.embeddingSuffixes ?? {}) },
});
