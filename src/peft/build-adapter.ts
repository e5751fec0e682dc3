import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { isClassifier } from "../models/classifier.js";
import { adaptableModules, type Model } from "../models/model.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "./adapter.js";
import type { AdapterBase, AdapterDescription } from "./formats/format.js";
import {
  ownOptions,
  type LinearMethod,
  type PeftMethod,
  type TextEncoder,
  type VirtualTokenMethod,
} from "./method.js";
import { addSavedModules, namesBeside, saveableTensors, withoutSaved } from "./modules-to-save.js";
import type { QloraAdapter } from "./qlora.js";
import type { VirtualTokenOptions } from "./options/virtual-tokens.js";
import {
  methodOf,
  optionGroups,
  peftMethods,
  type LinearMethodName,
  type MethodOptions,
  type PeftType,
  type VirtualMethodName,
} from "./registry.js";
import { inLayers, matchRankPattern, selectTargets } from "./targets.js";
import { createVirtualAdapter } from "./virtual-tokens.js";

/** Which layers of the model a method of linear layers is put onto. */
export interface TargetSettings {
  /** As given: endings of module names with commas between them, see selectTargets. */
  readonly targetModules: string;
  /** Numbers of the layers that get adapters; undefined for all. */
  readonly layers: readonly number[] | undefined;
  /** Ends of the paths of modules that train in full beside the adapter; see addSavedModules. */
  readonly modulesToSave: readonly string[];
  /** Ranks in place of the method's, by patterns of module paths; see matchRankPattern. */
  readonly rankPattern: ReadonlyMap<string, number>;
}

/** What the flags say of a method, and of where it goes. */
export interface AdapterSettings extends MethodOptions, TargetSettings {
  /** What qlora trains; without a meaning for every other method. */
  readonly qloraAdapter: QloraAdapter;
}

/** @throws {UserError} if an option is set that the method has no use for */
export const refuseMisplaced = (peftType: PeftType, method: PeftMethod, settings: object): void => {
  for (const group of optionGroups) {
    if (method.groups.includes(group)) continue;
    const suitable = Object.values<PeftMethod>(peftMethods)
      .filter(({ groups }) => groups.includes(group))
      .map(({ name }) => name);
    const fault = group.misplaced?.(settings, { peftType, suitable, lacks: method.lacks ?? {} });
    if (fault) throw new UserError(fault.message, fault.hint);
  }
};

/** What --compat makes of a method's options. */
const optionsOfCompat = ({ groups }: PeftMethod, compat: Compat): object =>
  Object.assign({}, ...groups.map((group) => group.ofCompat?.(compat))) as object;

/**
 * The adapter that the flags describe.
 *
 * @throws {UserError} if a target matches nothing, or the rank does not fit
 */
export const buildAdapter = (
  peftType: PeftType,
  model: Model,
  settings: AdapterSettings,
  compat: Compat,
  tokenizer?: TextEncoder,
): Adapter => {
  const named = methodOf(peftType, settings.qloraAdapter);
  refuseMisplaced(peftType, named, settings);
  const chosen = ownOptions(named, settings);
  const method = (named.kind === "linear" ? named.variant?.(chosen) : undefined) ?? named;
  const options = { ...chosen, ...optionsOfCompat(method, compat) };
  if (method.kind !== "linear") refuseLinearFlags(peftType, settings);
  if (method.kind === "virtual" && isClassifier(model))
    throw new UserError(
      `Cannot classify with --peft_type=${peftType}: found virtual tokens, expected a method that changes weights, such as hira or lora`,
    );
  if (method.kind === "virtual") {
    const given = options as VirtualTokenOptions;
    const completed = method.complete?.(given, model, tokenizer);
    return createVirtualAdapter(method, { ...given, ...completed }, model);
  }
  if (method.kind === "full") return createFullAdapter(method, model.tensors);
  const modulesToSave = namesBeside(model, settings.modulesToSave);
  const selected = selectTargets(adaptableModules(model), settings.targetModules, {
    asWritten: compat.has("targets"),
  });
  const left = withoutSaved(selected, modulesToSave);
  if (left.length === 0)
    throw new UserError(
      `Cannot adapt --target_modules=${settings.targetModules}: found all of them among --modules_to_save, expected others`,
    );
  const targets = inLayers(left, settings.layers, model.layers);
  const ranks = matchRankPattern(settings.rankPattern, targets);
  const adapter = createLinearAdapter(method, options, targets, ({ path }) => {
    const rank = ranks.get(path);
    return rank === undefined ? {} : { rank };
  });
  return addSavedModules(adapter, modulesToSave, model);
};

/** @throws {UserError} listing the flags that only methods with adapted layers have a use for */
const refuseLinearFlags = (peftType: PeftType, settings: AdapterSettings): void => {
  const given = [
    ...(settings.layers === undefined ? [] : ["--layers"]),
    ...(settings.rankPattern.size === 0 ? [] : ["--rank_pattern"]),
    ...(settings.modulesToSave.length === 0 ? [] : ["--modules_to_save"]),
  ];
  if (given.length > 0)
    throw new UserError(
      `Cannot use ${given.join(", ")} with --peft_type=${peftType}: expected a method that changes linear layers, such as hira or lora`,
    );
};

/** What adapter files are checked against. */
export const adapterBaseOf = (model: Model): AdapterBase => ({
  ...model,
  modules: adaptableModules(model),
  taskType: isClassifier(model) ? "SEQ_CLS" : "CAUSAL_LM",
  saveable: saveableTensors(model),
});

/** How an adapter is described in its folder; undefined for full fine-tuning, which writes a model folder. */
export const describeAdapter = (
  adapter: Adapter,
  baseModel: string,
): AdapterDescription | undefined => {
  const { method, options, targets } = adapter;
  if (method.kind === "full") return undefined;
  const described = { baseModel, options };
  if (method.kind === "virtual")
    return {
      ...described,
      method: method.name as VirtualMethodName,
      options: options as VirtualTokenOptions,
    };
  return {
    ...described,
    method: method.name as LinearMethodName,
    modules: new Map(targets.map((module) => [module.path, adapter.optionsOf(module)])),
    ...(adapter.modulesToSave && { modulesToSave: adapter.modulesToSave }),
  };
};

/**
 * The same way back: the adapter that a folder describes.
 *
 * @param training options in place of those that the files say, where it is to train on
 */
export const adapterOfDescription = (
  description: AdapterDescription,
  model: Model,
  compat: Compat,
  training?: (method: LinearMethod) => object,
): Adapter => {
  if (!("modules" in description)) {
    const method: VirtualTokenMethod = peftMethods[description.method];
    const options = { ...description.options, ...optionsOfCompat(method, compat) };
    return createVirtualAdapter(method, options, model, { baked: true });
  }
  const { modules, modulesToSave = [] } = description;
  const method: LinearMethod = peftMethods[description.method];
  const targets = adaptableModules(model).filter(({ path }) => modules.has(path));
  const options = {
    ...description.options,
    ...optionsOfCompat(method, compat),
    ...training?.(method),
  };
  const adapter = createLinearAdapter(method, options, targets, ({ path }) => ({
    ...modules.get(path),
  }));
  return addSavedModules(adapter, modulesToSave, model);
};
