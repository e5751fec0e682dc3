import { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { turnLayout, weightOf, type LinearModule } from "../models/model.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import { formOf, type LinearMethod } from "../peft/method.js";
import { cpuPlan, openGraph } from "../runtime/compute-plan.js";
import type { Session } from "../runtime/session.js";
import type { Tensor } from "../runtime/tensor.js";
import type { LiveAdapter } from "./decode-graph.js";

/** One layer inside a graph: its frozen weight W0 and the merged W, both [out, in] in the graph's dtype. */
export interface MergedLayer {
  readonly weight: Value;
  readonly merged: Value;
  /** `merged` in the layout of the model's files. */
  readonly stored: Value;
}

/** How W = W0 + ΔW is computed for the layers of a method, and which outputs the graph has. */
export interface MergedLayersOptions {
  readonly method: LinearMethod;
  /** The number type that W is computed in; W0 and the parameters are widened to it first. */
  readonly dtype: "float32" | "float64";
  /** Names the graph's outputs. */
  readonly outputs: (g: Graph, layer: MergedLayer) => void;
}

/** Computes with the merged weights of an adapter's layers, one layer at a time. */
export interface MergedLayers {
  /** The outputs of one of the adapter's targets, which are the caller's to dispose of. */
  run(module: LinearModule): Promise<Readonly<Record<string, Tensor>>>;
  dispose(): void;
}

/**
 * Opens the merged weights of an adapter: W = method.mergedWeight(W0, parameters), layer by layer.
 *
 * Weight and parameters are all inputs, so that layers of one shape and one set of options share a session.
 * @throws {RangeError} from `run`, if the adapter lacks a parameter's value
 */
export const openMergedLayers = (
  weights: Pick<FrozenWeights, "tensor">,
  { adapter, values }: LiveAdapter,
  options: MergedLayersOptions,
): MergedLayers => {
  const { method } = options;
  const sessions = new Map<string, Session>();
  return {
    async run(module) {
      const weight = weights.tensor(weightOf(module));
      const ofModule = adapter.optionsOf(module);
      const parameters = moduleParameters(module, method, ofModule, values);
      const key = [
        module.table,
        module.layout,
        weight.dtype,
        module.outFeatures,
        module.inFeatures,
        JSON.stringify(ofModule),
        ...Object.entries(parameters).flatMap(([short, { shape }]) => [short, ...shape]),
      ].join();
      const session =
        sessions.get(key) ?? (await layerSession(module, weight, parameters, ofModule, options));
      sessions.set(key, session);
      return session.run({ weight, ...parameters });
    },
    dispose() {
      for (const session of sessions.values()) session.dispose();
    },
  };
};

/** The values of one layer's parameters by their short names. @throws {RangeError} if one is missing */
const moduleParameters = (
  module: LinearModule,
  method: LinearMethod,
  options: object,
  values: ReadonlyMap<string, Tensor>,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries(
    Object.keys(formOf(method, module).parameters(module, options)).map((short) => {
      const value = values.get(`${module.path}.${short}`);
      if (!value)
        throw new RangeError(`Cannot compute with ${module.path}: found no value of its ${short}`);
      return [short, value];
    }),
  );

const layerSession = async (
  module: LinearModule,
  weight: Tensor,
  parameters: Readonly<Record<string, Tensor>>,
  ofModule: object,
  { method, dtype, outputs }: MergedLayersOptions,
): Promise<Session> => {
  const g = new Graph();
  const input = (name: string, tensor: Tensor): Value =>
    g.cast(g.input(name, tensor.dtype, tensor.shape), dtype);
  const w0 = turnLayout(g, input("weight", weight), module);
  const wide = Object.fromEntries(
    Object.entries(parameters).map(([name, tensor]) => [name, input(name, tensor)]),
  );
  const merged = formOf(method, module).mergedWeight(g, w0, wide, ofModule);
  outputs(g, { weight: w0, merged, stored: turnLayout(g, merged, module) });
  return openGraph(cpuPlan(), g);
};
