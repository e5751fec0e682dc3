import { elementCount } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import { Graph } from "../graph/graph.js";
import { encodeOnnx } from "../graph/onnx/encode.js";
import { lower } from "../graph/passes/lower.js";
import type { LinearModule } from "../models/adapter.js";
import { replaceWeights, type FrozenWeights } from "../models/weights/frozen-weights.js";
import type { Adapter } from "../peft/adapter.js";
import type { LinearMethod, MethodOptions } from "../peft/method.js";
import { Session } from "../runtime/session.js";
import type { Tensor } from "../runtime/tensor.js";

/**
 * Bytes that the merged weights of an adapter take: float32 copies of its targets. Infinity for virtual tokens, which no
 * weights can hold.
 */
export const mergedBytes = ({ method, targets }: Adapter): number => {
  if (method.kind === "virtual") return Infinity;
  if (method.kind === "full") return 0;
  return targets.reduce(
    (sum, { inFeatures, outFeatures }) => sum + 4 * elementCount([outFeatures, inFeatures]),
    0,
  );
};

/**
 * The model's weights with an adapter in them: W in place of W0 in every target, float32.
 *
 * `values` are the adapter's parameters by name; under full fine-tuning they are the weights. Nothing is written to `weights`.
 * @throws {UserError} on virtual tokens
 */
export const mergeAdapter = async (
  weights: FrozenWeights,
  adapter: Adapter,
  values: ReadonlyMap<string, Tensor>,
): Promise<FrozenWeights> => {
  const { method, targets } = adapter;
  if (method.kind === "full") return replaceWeights(weights, values);
  if (method.kind === "virtual")
    throw new UserError(
      `Cannot merge ${method.name}: its virtual tokens are no part of the weights`,
      "Use the adapter beside its base model",
    );
  const merged = new Map<string, Tensor>();
  // Layers of one shape, rank and alpha share a session.
  const sessions = new Map<string, Session>();
  try {
    for (const module of targets) {
      const name = `${module.path}.weight`;
      const weight = weights.tensor(name);
      const options = adapter.optionsOf(module);
      const parameters = moduleParameters(module, method, options, values);
      const key = [
        weight.dtype,
        module.outFeatures,
        module.inFeatures,
        options.alpha,
        ...Object.entries(parameters).flatMap(([short, { shape }]) => [short, ...shape]),
      ].join();
      const session =
        sessions.get(key) ?? (await mergeSession(weight, parameters, method, options));
      sessions.set(key, session);
      const { merged: result } = await session.run({ weight, ...parameters });
      if (result) merged.set(name, result);
    }
  } finally {
    for (const session of sessions.values()) session.dispose();
  }
  return replaceWeights(weights, merged);
};

/** The values of one layer's parameters by their short names. @throws {RangeError} if one is missing */
export const moduleParameters = (
  module: LinearModule,
  method: LinearMethod,
  options: MethodOptions,
  values: ReadonlyMap<string, Tensor>,
): Readonly<Record<string, Tensor>> =>
  Object.fromEntries(
    Object.keys(method.parameters(module, options)).map((short) => {
      const value = values.get(`${module.path}.${short}`);
      if (!value)
        throw new RangeError(`Cannot compute with ${module.path}: found no value of its ${short}`);
      return [short, value];
    }),
  );

/** weight and parameters -> merged, all as inputs, so that one session serves every layer of the shape. */
const mergeSession = async (
  weight: Tensor,
  parameters: Readonly<Record<string, Tensor>>,
  method: LinearMethod,
  options: MethodOptions,
): Promise<Session> => {
  const g = new Graph();
  const stored = g.input("weight", weight.dtype, weight.shape);
  const inputs = Object.fromEntries(
    Object.entries(parameters).map(([name, { shape }]) => [name, g.input(name, "float32", shape)]),
  );
  g.output("merged", method.mergedWeight(g, g.cast(stored, "float32"), inputs, options));
  return Session.create({ model: encodeOnnx(lower(g)) });
};
