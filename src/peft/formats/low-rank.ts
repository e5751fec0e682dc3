import type { JsonFields } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import type { LinearModule } from "../../models/adapter.js";
import { namePeftTargets, peftTargets } from "../adapter-targets.js";
import { savedTensors, withoutSaved } from "../modules-to-save.js";
import { moraSide } from "../mora.js";
import type { AdaptedModule, AdapterBase, AdapterTensor, LowRankAdapter } from "./format.js";

/** The shapes of one module's tensors by their short names: what the method's `parameters` says, from an adapter's files. */
const shapesOf = (
  { method, randomR, moraType = 6 }: LowRankAdapter,
  { rank, additiveRank = rank }: AdaptedModule,
  module: LinearModule,
): Readonly<Record<string, readonly number[]>> => {
  const { inFeatures, outFeatures } = module;
  if (method === "mora") {
    const side = moraSide(module, { rank, moraType });
    return { M: [side, side] };
  }
  return {
    A: [rank, inFeatures],
    B: [outFeatures, rank],
    ...(randomR && { R: [outFeatures, inFeatures] }),
    ...(method === "dora" && { magnitude: [outFeatures] }),
    ...(method === "hilora" && {
      loraA: [additiveRank, inFeatures],
      loraB: [outFeatures, additiveRank],
    }),
  };
};

/** The tensors of an adapter's modules, by their ends in the file, then those of the modules that it saves whole. */
export const lowRankTensors = (
  adapter: LowRankAdapter,
  base: AdapterBase,
  suffixes: Readonly<Record<string, string>>,
): readonly AdapterTensor[] => {
  const ofLayers = base.modules.flatMap((module) => {
    const { path } = module;
    const adapted = adapter.modules.get(path);
    if (adapted === undefined) return [];
    const shapes = shapesOf(adapter, adapted, module);
    return Object.entries(shapes).map(([short, shape]) => ({
      name: `${path}.${short}`,
      fileName: `base_model.model.${path}.${suffixes[short] ?? short}`,
      shape,
    }));
  });
  const saved = savedTensors(adapter.modulesToSave ?? [], base.saveable);
  return [
    ...ofLayers,
    ...[...saved].map(([name, shape]) => ({ name, fileName: `base_model.model.${name}`, shape })),
  ];
};

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

export const targetConfig = (adapter: LowRankAdapter, base: AdapterBase): JsonObject => {
  const ranks = splitPattern(new Map([...adapter.modules].map(([path, { rank }]) => [path, rank])));
  return {
    exclude_modules: null,
    fan_in_fan_out: false,
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

export const targetFields = [
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
export const parseTargets = (
  fields: JsonFields,
  base: AdapterBase,
): {
  readonly targets: readonly LinearModule[];
  readonly saved: Pick<LowRankAdapter, "modulesToSave">;
} => {
  const names = fields.value("modules_to_save") ?? [];
  const isList =
    Array.isArray(names) && names.every((name): name is string => typeof name === "string");
  const modulesToSave = isList ? names : [];
  const unmatched = modulesToSave.filter((name) => savedTensors([name], base.saveable).size === 0);
  if (!isList || unmatched.length > 0)
    fields.fault("modules_to_save", "names of modules of this model that hold weights");
  const targets = withoutSaved(peftTargets(fields, base.modules), modulesToSave);
  return { targets, saved: modulesToSave.length === 0 ? {} : { modulesToSave } };
};
