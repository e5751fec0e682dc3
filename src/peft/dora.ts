import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { weightOf } from "../models/model.js";
import { columnNormsOf, rowNormsOf } from "./init.js";
import {
  addedWeight,
  embeddingParameters,
  embeddingUpdate,
  loraGroups,
  loraScale,
  lowRankParameters,
  lowRankUpdate,
  transposed,
  type LoraOptions,
} from "./lora.js";
import { defineLinear, type ParameterValues } from "./method.js";

/**
 * V = W0 + scale * B A [out, in], and magnitude / ||V|| [out], the norm of each row of V being a constant.
 *
 * `axis` 0 has the norms of columns instead: [in].
 */
const direction = (
  g: Graph,
  weight: Value,
  parameters: ParameterValues,
  options: LoraOptions,
  axis = 1,
): { readonly V: Value; readonly scale: Value } => {
  const V = addedWeight(g, weight, parameters, loraScale(options));
  const norm = g.sqrt(g.reduceSum(g.mul(V, V), { axes: [axis] }));
  return { V, scale: g.div(parameters.magnitude as Value, g.detach(norm)) };
};

/** The same of an embedding, with A and B as they lie there: a magnitude for each column, over all tokens. */
const embeddingDirection = (
  g: Graph,
  weight: Value,
  parameters: ParameterValues,
  options: LoraOptions,
): ReturnType<typeof direction> =>
  direction(g, weight, { ...parameters, ...transposed(g, parameters) }, options, 0);

/**
 * DoRA: W = magnitude * V / ||V|| row by row, V = W0 + alpha / rank * B A. A [rank, in], B [out, rank], magnitude [out]. The scale may
 * be rank-stabilized, see loraScale.
 *
 * The magnitude starts at the row norms of W0, so an untrained adapter leaves the model as it was. The norm is taken as a
 * constant in the backward pass (section 4.3), so V is formed for its norm alone: y = (x W0^T + s x A^T B^T) * scale needs
 * no gradient of the size of W0.
 * With dropout the change alone sees the dropped x': y = x W0^T + (x' W0^T + s x' A^T B^T) * scale - x' W0^T, as in peft, for a
 * second product with W0.
 * On the embedding the magnitudes are those of its columns [hidden], and V is formed for their norms.
 * Source: Liu et al., "DoRA", ICML 2024; tuners/lora/dora.py of peft 0.21.2.
 */
export const dora = defineLinear({
  kind: "linear",
  name: "dora",
  groups: loraGroups,
  parameters: (module, options) => ({
    ...lowRankParameters(module, options),
    magnitude: {
      shape: [module.outFeatures],
      init: (module.layout === "in-out" ? columnNormsOf : rowNormsOf)(weightOf(module)),
      trainable: true,
    },
  }),
  linear(g, x, { weight, bias }, parameters, options, dropout) {
    const { scale } = direction(g, weight, parameters, options);
    const adapted = (z: Value, factor: number): Value =>
      g.add(
        g.matmul(z, weight, { transB: true, alpha: factor }),
        lowRankUpdate(g, z, parameters, factor * loraScale(options)),
      );
    if (dropout.scale === 1) {
      const y = g.mul(adapted(x, 1), scale);
      return bias ? g.add(y, bias) : y;
    }
    const dropped = dropout.apply(x);
    const change = g.sub(
      g.mul(adapted(dropped, dropout.scale), scale),
      g.matmul(dropped, weight, { transB: true, alpha: dropout.scale }),
    );
    return g.add(g.linear(x, weight, bias), change);
  },
  mergedWeight(g, weight, parameters, options) {
    const { V, scale } = direction(g, weight, parameters, options);
    return g.mul(V, g.reshape(scale, [V.shape[0] ?? 0, 1]));
  },
  embedding: {
    parameters: (module, options) => ({
      ...embeddingParameters(module, options),
      magnitude: {
        shape: [module.inFeatures],
        init: columnNormsOf(weightOf(module)),
        trainable: true,
      },
    }),
    rows(g, ids, { rows, weight }, parameters, options) {
      const { scale } = embeddingDirection(g, weight(), parameters, options);
      return g.mul(g.add(rows, embeddingUpdate(g, ids, parameters, loraScale(options))), scale);
    },
    mergedWeight(g, weight, parameters, options) {
      const { V, scale } = embeddingDirection(g, weight, parameters, options);
      return g.mul(V, scale);
    },
  },
});
