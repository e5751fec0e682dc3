import type { JsonFields } from "../../core/json-fields.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";

type Activation = (g: Graph, x: Value) => Value;

/** x * P(X <= x) of a standard normal X. Source: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", 2016. */
const gelu: Activation = (g, x) => {
  const number = (value: number): Value => g.scalar(value, x.dtype);
  const share = g.add(g.erf(g.mul(x, number(Math.SQRT1_2))), number(1));
  return g.mul(g.mul(x, number(0.5)), share);
};

/** The same with tanh in place of the normal distribution: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
const tanhGelu: Activation = (g, x) => {
  const number = (value: number): Value => g.scalar(value, x.dtype);
  const factor = g.add(g.mul(g.mul(x, x), number(0.044715)), number(1));
  const inner = g.mul(g.mul(x, number(Math.sqrt(2 / Math.PI))), factor);
  return g.mul(g.mul(x, number(0.5)), g.add(g.tanh(inner), number(1)));
};

const silu: Activation = (g, x) => g.silu(x);

/** Activations by their names in config.json; backward makes them again. Source: ACT2FN of transformers 5.24. */
const activations = {
  gelu,
  gelu_new: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  relu: (g, x) => g.relu(x),
  silu,
  swish: silu,
  tanh: (g, x) => g.tanh(x),
} as const satisfies Readonly<Record<string, Activation>>;

/** An activation by its name in config.json. */
export type ActivationName = keyof typeof activations;

/** A field of config.json that names an activation; what is not known is a fault. */
export const readActivation = (
  fields: JsonFields,
  name: string,
  fallback: ActivationName,
): ActivationName => {
  const given = fields.value(name) ?? fallback;
  if (typeof given === "string" && Object.hasOwn(activations, given))
    return given as ActivationName;
  fields.fault(name, `one of ${Object.keys(activations).join(", ")}`);
  return fallback;
};

/** The activation of that name, of any shape; the backward pass makes it again instead of keeping it. */
export const activate = (g: Graph, name: ActivationName, x: Value): Value =>
  g.cheap(() => activations[name](g, x));
