import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { turnedFrom } from "../graph/ops/transpose.js";
import { uniform } from "./init.js";
import { defineLinear, type FrozenLinear, type ParameterValues } from "./method.js";
import { defineOptions } from "./option-group.js";
import { initializationOptions, type InitializationOptions } from "./options/initialization.js";
import { rankOptions, type RankOptions } from "./options/rank.js";

const randomOptions = defineOptions({
  phase: "trained",
  flags: {
    rand_R: {
      kind: "switch",
      group: "Model and method",
      help: "A frozen random matrix takes the weight's place in the product with B A",
    },
  },
  read: ({ rand_R: randomR }) => ({
    randomR,
    /** True where --compat=rand-r asks for it: the authors' program then adds the bias twice. */
    biasTwice: false,
  }),
  ofCompat: (compat) => ({ biasTwice: compat.has("rand-r") }),
  valuesOf: ({ randomR }) => ({ rand_R: randomR }),
  misplaced: ({ randomR }, { peftType }) =>
    randomR
      ? {
          message: `Cannot use --rand_R with --peft_type=${peftType}: expected hira, whose W0 it replaces`,
        }
      : undefined,
});

/** What the flags say of HiRA. */
export type HiraOptions = RankOptions & InitializationOptions & (typeof randomOptions)["defaults"];

/**
 * W0 * (1 + B A), element by element; with R in place of W0: W0 + R * (B A). Where W0 lies [in, out], the product is formed so too,
 * and W is its transpose in name only: g.linear reads it as it lies.
 */
export const scaledWeight = (g: Graph, weight: Value, { A, B, R }: ParameterValues): Value => {
  const stored = R ? undefined : turnedFrom(weight);
  if (stored) {
    const turned = g.matmul(A as Value, B as Value, { transA: true, transB: true }); // [in, out]
    return g.turn(g.mul(stored, g.add(turned, g.scalar(1, weight.dtype))));
  }
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
export const hira = defineLinear({
  kind: "linear",
  name: "hira",
  groups: [rankOptions, initializationOptions, randomOptions],
  lacks: {
    dropout: "since HiRA drops nothing (in train_hira.py its lora_dropout is without effect)",
  },
  parameters: ({ inFeatures, outFeatures }, { rank, initA, initB, trainA, trainB, randomR }) => ({
    A: { shape: [rank, inFeatures], ownAxes: [0], init: initA, trainable: trainA },
    B: { shape: [outFeatures, rank], ownAxes: [1], init: initB, trainable: trainB },
    ...(randomR && {
      R: { shape: [outFeatures, inFeatures], init: uniform(0, 1), trainable: false },
    }),
  }),
  linear(g, x, { weight, bias, hold }: FrozenLinear, parameters, options) {
    const scaled = hold(() => scaledWeight(g, weight, parameters));
    const y = g.linear(x, scaled, bias);
    return options.biasTwice && parameters.R && bias ? g.add(y, bias) : y;
  },
  mergedWeight: scaledWeight,
});
