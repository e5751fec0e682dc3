import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { uniform } from "./init.js";
import type { ParameterSpec, ParameterValues } from "./method.js";

/** `<name>.weight` [out, in] and `<name>.bias` [out], both uniform in +-1/sqrt(in). Source: torch.nn.Linear. */
export const linearParameters = (
  name: string,
  inFeatures: number,
  outFeatures: number,
): Readonly<Record<string, ParameterSpec>> => {
  const bound = 1 / Math.sqrt(inFeatures);
  const init = uniform(-bound, bound);
  return {
    [`${name}.weight`]: { shape: [outFeatures, inFeatures], init, trainable: true },
    [`${name}.bias`]: { shape: [outFeatures], init, trainable: true },
  };
};

/** x weight^T + bias, with the parameters of linearParameters. */
export const linearLayer = (
  g: Graph,
  x: Value,
  parameters: ParameterValues,
  name: string,
): Value => {
  const { [`${name}.weight`]: weight, [`${name}.bias`]: bias } = parameters;
  if (!weight || !bias) throw new RangeError(`Cannot build an encoder: found no layer ${name}`);
  return g.linear(x, weight, bias);
};
