import { UserError } from "../core/errors.js";
import { listed } from "../core/flag.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { turnLayout, weightOf, type LinearModule, type ModelHooks } from "../models/model.js";
import type { WeightAccess } from "../models/weights/frozen-weights.js";
import { moduleDropout, noDropout, type DropoutKeys } from "../models/blocks/dropout.js";
import { headByParts, isLargeHead } from "./head-parts.js";
import { requireBase } from "./init.js";
import { dropoutOptions } from "./options/dropout.js";
import type { RankOptions } from "./options/rank.js";
import type { Pruning } from "./pruning.js";
import { linearMethods, type MethodOptions } from "./registry.js";
import {
  defaultsOf,
  formOf,
  type LinearMethod,
  type FullMethod,
  type ParameterSpec,
  type ParameterValues,
  type PeftMethod,
  type VirtualTokens,
} from "./method.js";

/** A parameter that trains: its shape and start value, and its place in the model. */
export interface AdapterParameter extends ParameterSpec {
  /** `<module path>.<short name>`; under full fine-tuning the tensor's own name. */
  readonly name: string;
  /** Whether AdamW's weight decay applies: not to norm gains and biases. */
  readonly decays: boolean;
  /** A tensor of the model that trains in full beside the method (--modules_to_save), under its own name. */
  readonly saved?: true;
}

/** A method applied to a model: its parameters, and how the model computes with them. */
export interface Adapter {
  readonly method: PeftMethod;
  /** Those of the method, which alone knows them. */
  readonly options: object;
  /** The options of one of `targets`: its own rank and alpha. */
  optionsOf(module: LinearModule): object;
  /** Whether training drops elements of what the targets' parameters see. */
  readonly drops: boolean;
  /** How training prunes the parameters; undefined: it does not. */
  readonly pruning: Pruning | undefined;
  /** The layers that the method changes. */
  readonly targets: readonly LinearModule[];
  readonly parameters: readonly AdapterParameter[];
  /** The names of --modules_to_save; see addSavedModules. */
  readonly modulesToSave?: readonly string[];
  /** What stands in front of the text, for methods of virtual tokens. */
  readonly virtual?: VirtualTokens;
  /**
   * The model's hooks inside a graph in which `parameter` gives each parameter's value.
   *
   * `keys` make dropout act, in training graphs alone. `tokens` are those of the largest batch: where they are many, values of a weight's
   * size are made again in the backward pass; see FrozenLinear.
   */
  hooks(
    g: Graph,
    frozen: WeightAccess,
    parameter: (name: string) => Value,
    keys?: DropoutKeys,
    tokens?: number,
  ): Pick<ModelHooks, "weight" | "embed" | "linear">;
}

/**
 * Up to here, held weights are kept for the backward pass, in steps of fewer tokens than KEPT_TOKENS: forming them again costs about 4 % of
 * a step of 400 tokens, and the less the longer a step is.
 */
const KEPT_BYTES = 512 * 1024 ** 2;
const KEPT_TOKENS = 1024;

/** The backward pass needs the head's weight right after the forward pass: it is not made again. */
const weightUse = ({ table }: LinearModule): { readonly kept: boolean } => ({
  kept: table === "head",
});

/** The weight of a layer, [outFeatures, inFeatures] whatever its layout in the file. */
export const moduleWeight = (
  g: Graph,
  access: Pick<WeightAccess, "weight">,
  module: LinearModule,
): Value => turnLayout(g, access.weight(weightOf(module), weightUse(module)), module);

/** y = x weight^T + bias with tensors of the checkpoint. */
export const plainLinear = (
  g: Graph,
  access: Pick<WeightAccess, "weight">,
  x: Value,
  module: LinearModule,
): Value =>
  g.linear(
    x,
    moduleWeight(g, access, module),
    module.bias ? access.weight(`${module.path}.bias`) : undefined,
  );

const shapeText = ({ path, outFeatures, inFeatures }: LinearModule): string =>
  `${path} [${String(outFeatures)}, ${String(inFeatures)}]`;

const withTables = Object.values<LinearMethod>(linearMethods)
  .filter(({ embedding }) => embedding !== undefined)
  .map(({ name }) => name);

/** The rate of a module's dropout, which is 0 for a method without it. */
const dropoutOf = (options: object): number => ({ ...dropoutOptions.defaults, ...options }).dropout;

/** @throws {UserError} naming embedding and head, unless the method has a form for them */
const checkTables = (method: LinearMethod, targets: readonly LinearModule[]): void => {
  const tables = targets.filter(({ table }) => table !== undefined).map(({ path }) => path);
  if (tables.length > 0 && !method.embedding)
    throw new UserError(
      `Cannot use --peft_type=${method.name} on ${tables.join(" and ")}: expected ${listed(withTables)} there, or other --target_modules`,
      `--modules_to_save=${tables.map((path) => path.split(".").at(-1)).join(",")} trains them in full beside it`,
    );
};

/** @throws {UserError} listing the layers that the rank does not fit, by what is wrong with them */
const checkRanks = (
  method: LinearMethod,
  given: object,
  targets: readonly LinearModule[],
  optionsOf: (module: LinearModule) => object,
): void => {
  const rankOf = (options: object): number => (options as Partial<RankOptions>).rank ?? 1;
  const fitsSmallerSide = ({ inFeatures, outFeatures }: LinearModule, options: object) =>
    rankOf(options) >= 1 && rankOf(options) <= Math.min(inFeatures, outFeatures)
      ? undefined
      : "a rank from 1 to the smaller side";
  const common = rankOf(given);
  const faults = targets.flatMap((module) => {
    const options = optionsOf(module);
    const expected = method.unfit
      ? method.unfit(module, options)
      : fitsSmallerSide(module, options);
    return expected === undefined ? [] : [{ module, rank: rankOf(options), expected }];
  });
  const [first] = faults;
  if (!first) return;
  const ranks = [...new Set(faults.map(({ rank }) => rank))].join(", ");
  throw new UserError(
    `Cannot use ${faults.every(({ rank }) => rank === common) ? "--r_ab" : "--rank_pattern"}=${ranks} on ${faults.map(({ module }) => shapeText(module)).join(", ")}: expected ${first.expected}`,
    "Choose a smaller rank, or other --target_modules",
  );
};

/**
 * Puts a method that changes linear layers onto `targets`.
 *
 * `options` count for all of them, and `ofModule` for one.
 * @throws {UserError} listing the layers that the rank does not fit, and embedding and head where the method leaves them alone
 */
export const createLinearAdapter = (
  method: LinearMethod<MethodOptions>,
  given: Partial<MethodOptions>,
  targets: readonly LinearModule[],
  ofModule: (module: LinearModule) => Partial<MethodOptions> = () => ({}),
): Adapter => {
  // The method looks at its own alone.
  const options = { ...defaultsOf(method), ...given } as MethodOptions;
  const optionsOf = (module: LinearModule): MethodOptions => ({ ...options, ...ofModule(module) });
  checkTables(method, targets);
  checkRanks(method, options, targets, optionsOf);
  const specs = new Map(
    targets.map((module) => [
      module.path,
      formOf(method, module).parameters(module, optionsOf(module)),
    ]),
  );
  const embedding = targets.find(({ table }) => table === "embedding");
  const heldBytes = targets.reduce((sum, each) => sum + 4 * each.inFeatures * each.outFeatures, 0);
  return {
    method,
    options,
    optionsOf,
    drops: dropoutOf(options) > 0,
    pruning: method.pruning?.(options),
    targets,
    parameters: [...specs].flatMap(([path, parameters]) =>
      Object.entries(parameters).map(([short, spec]) => ({
        ...spec,
        name: `${path}.${short}`,
        decays: true,
      })),
    ),
    hooks: (g, frozen, parameter, keys, tokens = 0) => {
      const keeps = heldBytes <= KEPT_BYTES && tokens < KEPT_TOKENS;
      const valuesOf = ({ path }: LinearModule): ParameterValues =>
        Object.fromEntries(
          Object.keys(specs.get(path) ?? {}).map((short) => [short, parameter(`${path}.${short}`)]),
        );
      return {
        ...frozen,
        embed(name, ids) {
          const rows = frozen.embed(name, ids);
          if (!embedding || name !== weightOf(embedding) || !method.embedding) return rows;
          const weight = () => frozen.weight(name);
          return method.embedding.rows(
            g,
            ids,
            { rows, weight },
            valuesOf(embedding),
            optionsOf(embedding),
          );
        },
        linear(x, module) {
          if (!specs.has(module.path))
            return tokens > 0 && isLargeHead(frozen, module)
              ? headByParts(g, frozen, x, module)
              : plainLinear(g, frozen, x, module);
          const tensors = {
            weight: moduleWeight(g, frozen, module),
            bias: module.bias ? frozen.weight(`${module.path}.bias`) : undefined,
            hold: (build: () => Value) => (keeps ? build() : g.cheap(build)),
          };
          const own = optionsOf(module);
          const { path } = module;
          const rate = dropoutOf(own);
          const dropout = keys && rate > 0 ? moduleDropout(g, keys, { path, rate }) : noDropout;
          return method.linear(g, x, tensors, valuesOf(module), own, dropout);
        },
      };
    },
  };
};

/** Full fine-tuning: every tensor of the checkpoint is a parameter, and starts with the checkpoint's values. */
export const createFullAdapter = (
  method: FullMethod,
  tensors: ReadonlyMap<string, readonly number[]>,
): Adapter => ({
  method,
  options: {},
  optionsOf: () => ({}),
  drops: false,
  pruning: undefined,
  targets: [],
  parameters: [...tensors].map(([name, shape]) => ({
    name,
    shape,
    init: (_shape, _seed, tensor, base) => requireBase(base, tensor),
    trainable: true,
    decays: shape.length > 1,
  })),
  hooks(g, _frozen, parameter) {
    const access: WeightAccess = {
      weight: parameter,
      embed: (name, ids) => g.gather(parameter(name), ids, { axis: 0 }),
    };
    return { ...access, linear: (x, module) => plainLinear(g, access, x, module) };
  },
});

/** No method: the model as it is. */
export const plainHooks = (
  g: Graph,
  frozen: WeightAccess,
): Pick<ModelHooks, "weight" | "embed" | "linear"> => ({
  ...frozen,
  linear: (x, module) => plainLinear(g, frozen, x, module),
});
