import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import type { LinearModule, ModelHooks } from "../model.js";

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
    hidden = recomputeLayers
      ? g.recomputable(pathOf(layer), () => build(input, layer))
      : build(input, layer);
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
