import { didYouMean, UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { embeddingTensor, ownHead, type LinearModule, type Model } from "../models/model.js";
import { isClassifier } from "../models/classifier.js";
import type { WeightAccess } from "../models/weights/frozen-weights.js";
import type { Adapter, AdapterParameter } from "./adapter.js";
import { requireBase } from "./init.js";

/** The tensors that may train in full beside an adapter: the model's own, and a head of its own where it is tied. */
export const saveableTensors = (model: Model): ReadonlyMap<string, readonly number[]> =>
  new Map([
    ...model.tensors,
    ...(model.head
      ? [[`${model.head.path}.weight`, [model.vocabSize, model.head.inFeatures]] as const]
      : []),
  ]);

/**
 * The modules that always train in full beside a classifier's adapter: its head. Names are matched as in savedTensors, so that
 * `classifier` is `pre_classifier` too, and a model has one of the two.
 *
 * Source: PeftModelForSequenceClassification of peft 0.21.2.
 */
export const classifierNames: readonly string[] = ["classifier", "score"];

/** What trains in full beside an adapter: what the flags name, and a classifier's head. */
export const namesBeside = (model: Model, given: readonly string[]): readonly string[] =>
  isClassifier(model)
    ? [...given.filter((name) => !classifierNames.includes(name)), ...classifierNames]
    : given;

/** The module that a tensor belongs to: its name without `.weight` or `.bias`. */
const moduleOf = (tensor: string): string => tensor.slice(0, tensor.lastIndexOf("."));

/**
 * The tensors of the modules whose path ends with one of the names, not necessarily at a dot: `norm` is every norm.
 *
 * Source: _set_trainable of peft 0.21.2.
 */
export const savedTensors = (
  names: readonly string[],
  tensors: ReadonlyMap<string, readonly number[]>,
): ReadonlyMap<string, readonly number[]> =>
  new Map([...tensors].filter(([tensor]) => names.some((name) => moduleOf(tensor).endsWith(name))));

/**
 * The names of a config's modules_to_save: with ensure_weight_tying, of tied head and embedding both, if either is named.
 *
 * Source: _add_modules_to_save_to_tie of peft 0.21.2.
 */
export const namesToSave = (
  { modules_to_save: given, ensure_weight_tying: tying }: JsonObject,
  { tieWordEmbeddings, embedding, head }: Pick<Model, "tieWordEmbeddings" | "embedding" | "head">,
): readonly string[] => {
  const list: readonly unknown[] = Array.isArray(given) ? given : [];
  const names = list.filter((name) => typeof name === "string");
  const tables = [embedding.path, ...(head ? [head.path] : [])];
  const isNamed = (path: string): boolean => names.some((name) => path.endsWith(name));
  return tying === true && tieWordEmbeddings && tables.some(isNamed)
    ? [...names, ...tables.filter((path) => !isNamed(path))]
    : names;
};

/**
 * The modules that no name of modules_to_save takes from the targets: names count from a dot on here.
 *
 * Source: check_target_module_exists of peft 0.21.2, which takes a name for a regular expression.
 */
export const withoutSaved = <M extends Pick<LinearModule, "path">>(
  modules: readonly M[],
  names: readonly string[],
): readonly M[] =>
  modules.filter(({ path }) => !names.some((name) => path === name || path.endsWith(`.${name}`)));

/** @throws {UserError} listing the names of --modules_to_save that are no module, and targets that would be changed twice */
const checkNames = (
  given: readonly string[],
  model: Model,
  tensors: ReadonlyMap<string, readonly number[]>,
  { targets }: Pick<Adapter, "targets">,
): void => {
  const names = given.filter((name) => !(isClassifier(model) && classifierNames.includes(name)));
  const modules = [...tensors.keys()].map(moduleOf);
  const unmatched = names.filter((name) => !modules.some((module) => module.endsWith(name)));
  if (unmatched.length > 0) {
    const known = [...new Set(modules.map((module) => module.split(".").at(-1) ?? module))];
    throw new UserError(
      `Cannot use --modules_to_save: found ${unmatched.map((name) => JSON.stringify(name)).join(", ")}, which ${unmatched.length === 1 ? "matches" : "match"} no module; expected names out of ${known.join(", ")}`,
      [
        ...unmatched.map((name) => didYouMean(name, known)).filter((text) => text !== undefined),
        "Names are matched against the end of a module's path",
      ].join(" "),
    );
  }
  const saved = savedTensors(names, tensors);
  const both = targets.filter(({ path }) => saved.has(`${path}.weight`));
  if (both.length > 0)
    throw new UserError(
      `Cannot use --modules_to_save: found ${both.map(({ path }) => path).join(", ")}, which --target_modules adapts too, expected one of the two`,
      "Name the modules from a dot of their path on: they are then left out of the targets",
    );
};

/**
 * The adapter with modules that train in full beside it, as copies: the base model keeps its own.
 *
 * Where the head is tied to the embedding, either is a copy of its own, and the other one stays as it was, as in peft (its
 * ensure_weight_tying is off): they are tied no longer.
 * Source: ModulesToSaveWrapper of peft 0.21.2.
 * @throws {UserError} listing names that are no module, or modules that are targets too
 */
export const addSavedModules = (
  adapter: Adapter,
  names: readonly string[],
  model: Model,
): Adapter => {
  if (names.length === 0) return adapter;
  const saveable = saveableTensors(model);
  checkNames(names, model, saveable, adapter);
  const saved = savedTensors(names, saveable);
  const [embedding, head] = [embeddingTensor(model), ownHead(model)];
  const startOf = (name: string): string =>
    name === head && model.tieWordEmbeddings ? embedding : name;
  const parameters = [...saved].map(([name, shape]): AdapterParameter => ({
    name,
    shape,
    init: (_shape, _seed, _name, base) => requireBase(base, startOf(name)),
    trainable: true,
    decays: shape.length > 1,
    saved: true,
  }));
  return {
    ...adapter,
    parameters: [...adapter.parameters, ...parameters],
    modulesToSave: names,
    hooks(g, frozen, parameter, keys, tokens) {
      const access: WeightAccess = {
        // The embedding is asked for as a weight by a tied head alone, which keeps the model's.
        weight: (name, options) =>
          saved.has(name) && name !== embedding ? parameter(name) : frozen.weight(name, options),
        embed: (name, ids) =>
          saved.has(name) ? g.gather(parameter(name), ids, { axis: 0 }) : frozen.embed(name, ids),
      };
      const hooks = adapter.hooks(g, access, parameter, keys, tokens);
      return {
        ...hooks,
        // The weight of a tied head goes by the embedding's name.
        linear: (x, module) =>
          module.table === "head" && head !== undefined && saved.has(head)
            ? g.linear(x, parameter(head))
            : hooks.linear(x, module),
      };
    },
  };
};

/** Whether the head and the embedding, tied in the base model, differ with this adapter in it. */
export const unties = (
  { parameters, targets }: Pick<Adapter, "parameters" | "targets">,
  model: Model,
): boolean =>
  model.tieWordEmbeddings &&
  (targets.some(({ table }) => table !== undefined) ||
    parameters.some(
      ({ name, saved }) => saved && (name === embeddingTensor(model) || name === ownHead(model)),
    ));
