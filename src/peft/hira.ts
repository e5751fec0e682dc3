import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { uniform } from "./init.js";
import type { FrozenLinear, LinearMethod, MethodOptions } from "./method.js";

type Parameters = Readonly<Record<string, Value>>;

/** W0 * (1 + B A), element by element; with R in place of W0: W0 + R * (B A). */
const scaledWeight = (g: Graph, weight: Value, { A, B, R }: Parameters): Value => {
  const product = g.matmul(B as Value, A as Value); // [out, in]
  return R
    ? g.add(weight, g.mul(R, product))
    : g.mul(weight, g.add(product, g.scalar(1, weight.dtype)));
};

/**
 * HiRA: W = W0 * (1 + B A), element by element. W0 [out, in], A [rank, in], B [out, rank].
 *
 * B A has rank r at most; the update W0 * (B A) may have full rank. B starts at zero, so an untrained adapter leaves the
 * model as it was. W is formed first, which costs one large matmul: x W0 + x (W0 * B A) would cost two. The backward pass
 * forms it again instead of keeping it, but in small models.
 * Source: Huang et al., "HiRA", ICLR 2025, section 3; forward() of the authors' hira/tuners/lora.py. --rand_R: a frozen R,
 * uniform in [0, 1), takes the place of W0 in the update (Table 4).
 */
export const hira: LinearMethod = {
  kind: "linear",
  name: "hira",
  reads: {
    rank: true,
    initA: true,
    initB: true,
    trainA: true,
    trainB: true,
    randomR: true,
    biasTwice: true,
  },
  parameters: ({ inFeatures, outFeatures }, { rank, initA, initB, trainA, trainB, randomR }) => ({
    A: { shape: [rank, inFeatures], init: initA, trainable: trainA },
    B: { shape: [outFeatures, rank], init: initB, trainable: trainB },
    ...(randomR && {
      R: { shape: [outFeatures, inFeatures], init: uniform(0, 1), trainable: false },
    }),
  }),
  linear(
    g: Graph,
    x: Value,
    { weight, bias, hold }: FrozenLinear,
    parameters: Parameters,
    options: MethodOptions,
  ): Value {
    const scaled = hold(() => scaledWeight(g, weight, parameters));
    const y = g.linear(x, scaled, bias);
    return options.biasTwice && parameters.R && bias ? g.add(y, bias) : y;
  },
  mergedWeight: scaledWeight,
};
