import { dtypes, elementCount } from "../core/dtype.js";
import { countNonFinite, narrowFloat32 } from "../core/half.js";
import { UserError } from "../core/errors.js";
import type { Value } from "../graph/op.js";
import {
  embeddingTensor,
  requireHead,
  weightOf,
  type LinearModule,
  type Model,
} from "../models/model.js";
import { replaceWeights, type FrozenWeights } from "../models/weights/frozen-weights.js";
import { moduleWeight, type Adapter } from "../peft/adapter.js";
import { unties } from "../peft/modules-to-save.js";
import { formOf, type VirtualTokenMethod } from "../peft/method.js";
import { Tensor } from "../runtime/tensor.js";
import type { LiveAdapter } from "./decode-graph.js";
import { openMergedLayers } from "./merged-layers.js";

/** The number type of merged linear layers; tables are float32. */
export type MergedType = "float32" | "bfloat16" | "float16";

/**
 * Bytes that the merged weights of an adapter take: copies of its targets. Infinity for virtual tokens, which no weights can hold.
 */
export const mergedBytes = (
  { method, targets }: Adapter,
  dtype: MergedType = "float32",
): number => {
  if (method.kind === "virtual") return Infinity;
  if (method.kind === "full") return 0;
  return targets.reduce(
    (sum, { inFeatures, outFeatures, table }) =>
      sum + dtypes[table ? "float32" : dtype].bytes * elementCount([outFeatures, inFeatures]),
    0,
  );
};

/** Why a method of virtual tokens has no merged weights. */
export const unmergeable = ({ name }: VirtualTokenMethod): UserError =>
  new UserError(
    `Cannot merge ${name}: found virtual tokens, which are no part of the weights, expected a method that changes weights`,
    "Use the adapter beside its base model",
  );

/**
 * The model's weights with an adapter in them: W in place of W0 in every target, float32, and what it saves
 * whole in its place.
 *
 * `values` are the adapter's parameters by name; under full fine-tuning they are the weights. Nothing is written to `weights`.
 * @param dtype what linear layers are rounded to; one that float16 cannot hold stays in float32
 * @throws {UserError} on virtual tokens
 */
export const mergeAdapter = async (
  weights: FrozenWeights,
  adapter: Adapter,
  values: ReadonlyMap<string, Tensor>,
  dtype: MergedType = "float32",
): Promise<FrozenWeights> => {
  const { method, targets } = adapter;
  if (method.kind === "full") return replaceWeights(weights, values);
  if (method.kind === "virtual") throw unmergeable(method);
  const merged = new Map<string, Tensor>();
  const layers = openMergedLayers(
    weights,
    { adapter, values },
    {
      method,
      dtype: "float32",
      outputs: (g, layer) => {
        g.output("merged", layer.stored);
      },
    },
  );
  try {
    for (const module of targets) {
      const { merged: result } = await layers.run(module);
      if (result)
        merged.set(`${module.path}.weight`, module.table ? result : rounded(result, dtype));
    }
  } finally {
    layers.dispose();
  }
  for (const { name, saved } of adapter.parameters) {
    const value = saved && values.get(name);
    if (value) merged.set(name, value);
  }
  return replaceWeights(weights, merged);
};

/** A float32 tensor in another type, in place of it. */
const rounded = (tensor: Tensor, dtype: MergedType): Tensor => {
  if (dtype === "float32") return tensor;
  const narrow = narrowFloat32(tensor.data as Float32Array, dtype);
  if (dtype === "float16" && countNonFinite(dtype, narrow) > 0) return tensor;
  tensor.dispose();
  return Tensor.fromArray(dtype, tensor.shape, narrow);
};

/**
 * The config and the weights of a model with a merged adapter in it: those of mergeAdapter, and where the adapter unties head
 * and embedding (see unties), a model that has both.
 *
 * @throws {UserError} on virtual tokens
 */
export const mergedModel = async (
  model: Model,
  weights: FrozenWeights,
  { adapter, values }: LiveAdapter,
  dtype?: MergedType,
): Promise<{ readonly model: Model; readonly weights: FrozenWeights }> => {
  const merged = await mergeAdapter(weights, adapter, values, dtype);
  if (!unties(adapter, model)) return { model, weights: merged };
  const untied = model.untied();
  const head = weightOf(requireHead(untied));
  if (new Set(merged.names).has(head)) return { model: untied, weights: merged };
  const own = new Map([[head, weights.tensor(embeddingTensor(model))]]);
  return { model: untied, weights: replaceWeights(merged, own) };
};

/**
 * The same adapter, computing every layer with the merged weight: y = x W^T + bias.
 *
 * It equals the adapter up to the order of float32 sums, and holds one layer's W at a time, where merged weights hold all.
 */
export const mergedForm = ({ adapter, values }: LiveAdapter): LiveAdapter => {
  const { method, targets } = adapter;
  if (method.kind !== "linear") return { adapter, values };
  const paths = new Set(targets.map(({ path }) => path));
  const embedding = targets.find(({ table }) => table === "embedding");
  return {
    values,
    adapter: {
      ...adapter,
      hooks(g, frozen, parameter) {
        const own = adapter.hooks(g, frozen, parameter);
        const merged = (module: LinearModule): Value => {
          const form = formOf(method, module);
          const options = adapter.optionsOf(module);
          const parameters = Object.fromEntries(
            Object.keys(form.parameters(module, options)).map((short) => [
              short,
              parameter(`${module.path}.${short}`),
            ]),
          );
          return form.mergedWeight(g, moduleWeight(g, frozen, module), parameters, options);
        };
        return {
          ...own,
          embed: (name, ids) =>
            embedding && name === weightOf(embedding)
              ? g.gather(merged(embedding), ids, { axis: 0 })
              : own.embed(name, ids),
          linear(x, module) {
            if (!paths.has(module.path)) return own.linear(x, module);
            const { path, bias } = module;
            return g.linear(x, merged(module), bias ? frozen.weight(`${path}.bias`) : undefined);
          },
        };
      },
    },
  };
};
