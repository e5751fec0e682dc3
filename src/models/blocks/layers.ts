import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import { storedShape, type LinearModule, type ModelHooks } from "../model.js";

/**
 * Applies the layers 0 ... count - 1 to x, one after the other; with `recomputeLayers` each is a part that the backward pass
 * computes again from its input.
 *
 * @param options.pathOf a layer's path, which names the part
 */
export const repeatLayers = (
  g: Graph,
  x: Value,
  {
    count,
    pathOf,
    recomputeLayers = false,
  }: {
    readonly count: number;
    readonly pathOf: (layer: number) => string;
    readonly recomputeLayers?: boolean | undefined;
  },
  build: (x: Value, layer: number) => Value,
): Value => {
  let hidden = x;
  for (let layer = 0; layer < count; layer++) {
    const input = hidden;
    hidden = g.inLayer(layer, () =>
      recomputeLayers
        ? g.recomputable(pathOf(layer), () => build(input, layer))
        : build(input, layer),
    );
  }
  return hidden;
};

/** y of the linear layer at a path, in that scope. @throws {RangeError} when called with a path that `linears` lack */
export const linearByPath = (
  g: Graph,
  linears: readonly LinearModule[],
  hooks: Pick<ModelHooks, "linear">,
): ((x: Value, path: string) => Value) => {
  const modules = new Map(linears.map((module) => [module.path, module]));
  return (x, path) => {
    const module = modules.get(path);
    if (!module) throw new RangeError(`Cannot build the model: it has no ${path}`);
    return g.inScope(path, () => hooks.linear(x, module));
  };
};

/** Leaves of the last layer's rows those that are needed, see ModelHooks.lastRows; of other layers all. */
export const cutRows = (
  { lastRows }: Pick<ModelHooks, "lastRows">,
  isLast: boolean,
): ((x: Value) => Value) => (isLast && lastRows ? lastRows : (x) => x);

/** The layer norm whose gain and bias stand at a path; the backward pass computes it again. */
export const layerNormByPath = (
  g: Graph,
  { weight }: Pick<ModelHooks, "weight">,
  epsilon: number,
): ((x: Value, path: string) => Value) => {
  return (x, path) =>
    g.cheap(() =>
      g.layerNormalization(x, weight(`${path}.weight`), weight(`${path}.bias`), { epsilon }),
    );
};

/** Adds the tensors of a layer norm of that width to a model's. */
export const addLayerNorm = (
  tensors: Map<string, readonly number[]>,
  path: string,
  width: number,
): void => {
  tensors.set(`${path}.weight`, [width]);
  tensors.set(`${path}.bias`, [width]);
};

/** Adds the tensors of a linear layer to a model's, as its file lays them out. */
export const addLinear = (tensors: Map<string, readonly number[]>, module: LinearModule): void => {
  tensors.set(`${module.path}.weight`, storedShape(module));
  if (module.bias) tensors.set(`${module.path}.bias`, [module.outFeatures]);
};
