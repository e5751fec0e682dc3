import { UserError } from "../core/errors.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule, ModelHooks } from "../models/adapter.js";
import type { WeightAccess } from "../models/weights/frozen-weights.js";
import { zeros } from "./init.js";
import type { LinearMethod, MethodOptions, ParameterSpec, PeftMethod } from "./method.js";

export interface AdapterParameter extends ParameterSpec {
  /** `<module path>.<short name>`; under full fine-tuning the tensor's own name. */
  readonly name: string;
  /** Whether AdamW's weight decay applies: not to norm gains and biases. */
  readonly decays: boolean;
}

/** A method applied to a model: its parameters, and how the model computes with them. */
export interface Adapter {
  readonly method: PeftMethod;
  readonly options: MethodOptions;
  /** The layers that the method changes. */
  readonly targets: readonly LinearModule[];
  readonly parameters: readonly AdapterParameter[];
  /** The model's hooks inside a graph in which `parameter` gives each parameter's value. */
  hooks(
    g: Graph,
    frozen: WeightAccess,
    parameter: (name: string) => Value,
  ): Pick<ModelHooks, "weight" | "embed" | "linear">;
}

/** y = x weight^T + bias with tensors of the checkpoint. */
const plainLinear = (
  g: Graph,
  access: Pick<WeightAccess, "weight">,
  x: Value,
  module: LinearModule,
): Value =>
  g.linear(
    x,
    access.weight(`${module.path}.weight`),
    module.bias ? access.weight(`${module.path}.bias`) : undefined,
  );

/**
 * Puts a method that changes linear layers onto `targets`.
 *
 * @throws {UserError} listing the layers that the rank does not fit
 */
export const createLinearAdapter = (
  method: LinearMethod,
  options: MethodOptions,
  targets: readonly LinearModule[],
  { rankOf = () => options.rank }: { readonly rankOf?: (module: LinearModule) => number } = {},
): Adapter => {
  const unfit = targets.filter(
    ({ inFeatures, outFeatures }) =>
      options.rank < 1 || options.rank > Math.min(inFeatures, outFeatures),
  );
  if (unfit.length > 0)
    throw new UserError(
      `Cannot use --r_ab=${String(options.rank)} on ${unfit.map(({ path, outFeatures, inFeatures }) => `${path} [${String(outFeatures)}, ${String(inFeatures)}]`).join(", ")}: expected a rank from 1 to the smaller side`,
      "Choose a smaller --r_ab, or other --target_modules",
    );
  const specs = new Map(
    targets.map((module) => [
      module.path,
      method.parameters(module, { ...options, rank: rankOf(module) }),
    ]),
  );
  return {
    method,
    options,
    targets,
    parameters: [...specs].flatMap(([path, parameters]) =>
      Object.entries(parameters).map(([short, spec]) => ({
        ...spec,
        name: `${path}.${short}`,
        decays: true,
      })),
    ),
    hooks: (g, frozen, parameter) => ({
      ...frozen,
      linear(x, module) {
        const spec = specs.get(module.path);
        if (!spec) return plainLinear(g, frozen, x, module);
        const values = Object.keys(spec).map(
          (short) => [short, parameter(`${module.path}.${short}`)] as const,
        );
        const tensors = {
          weight: frozen.weight(`${module.path}.weight`),
          bias: module.bias ? frozen.weight(`${module.path}.bias`) : undefined,
        };
        return method.linear(g, x, tensors, Object.fromEntries(values), options);
      },
    }),
  };
};

/** Full fine-tuning: every tensor of the checkpoint is a parameter; start values are the checkpoint's. */
export const createFullAdapter = (
  method: PeftMethod,
  options: MethodOptions,
  tensors: ReadonlyMap<string, readonly number[]>,
): Adapter => ({
  method,
  options,
  targets: [],
  parameters: [...tensors].map(([name, shape]) => ({
    name,
    shape,
    init: zeros,
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
