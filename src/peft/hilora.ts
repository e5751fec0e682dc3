import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { hira, scaledWeight, type HiraOptions } from "./hira.js";
import { kaimingUniform, zeros } from "./init.js";
import { addedWeight, lowRankUpdate, type LowRankOptions } from "./lora.js";
import { defineLinear, type ParameterValues } from "./method.js";
import { defineOptions } from "./option-group.js";
import { dropoutOptions } from "./options/dropout.js";
import { initializationOptions } from "./options/initialization.js";
import { rankOptions } from "./options/rank.js";
import { alphaOptions } from "./options/scale.js";

const additiveOptions = defineOptions({
  phase: "trained",
  isRank: true,
  flags: {
    r_lora: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: null,
      min: 1,
      help: "Rank of hilora's additive part; if not given, --r_ab",
    },
  },
  nullMeans: { r_lora: "r_ab" },
  beside: rankOptions.flags,
  read: ({ r_lora: additiveRank, r_ab: rank }) => ({ additiveRank: additiveRank ?? rank }),
  valuesOf: ({ additiveRank }) => ({ r_lora: additiveRank }),
});

/** What the flags say of the additive part. */
export type AdditiveOptions = (typeof alphaOptions)["defaults"] &
  (typeof additiveOptions)["defaults"];

/** HiRA's options for the first part, where nothing takes the place of W0. */
const hiraOptionsOf = ({ rank, initA, initB, trainA, trainB }: LowRankOptions): HiraOptions => ({
  ...{ rank, initA, initB, trainA, trainB },
  randomR: false,
  biasTwice: false,
});

/** W0 * (1 + B A) + alpha / additiveRank * loraB loraA. */
const combinedWeight = (
  g: Graph,
  weight: Value,
  parameters: ParameterValues,
  options: AdditiveOptions,
): Value =>
  addedWeight(
    g,
    scaledWeight(g, weight, parameters),
    { A: parameters.loraA as Value, B: parameters.loraB as Value },
    options.alpha / options.additiveRank,
  );

/**
 * HiLoRA, HiRA and LoRA together: W = W0 * (1 + B A) + alpha / r_lora * loraB loraA.
 *
 * A [rank, in], B [out, rank]; loraA [r_lora, in], loraB [out, r_lora]. Both Bs start at zero, so an untrained adapter
 * leaves the model as it was. W is formed as HiRA forms it, and the additive part costs next to nothing on top.
 * Dropout acts on the additive part, as LoRA has it; HiRA drops nothing.
 * Source: Huang et al., "HiRA", ICLR 2025, Table 6.
 */
export const hilora = defineLinear({
  kind: "linear",
  name: "hilora",
  groups: [rankOptions, initializationOptions, alphaOptions, additiveOptions, dropoutOptions],
  parameters: (module, options) => ({
    ...hira.parameters(module, hiraOptionsOf(options)),
    loraA: {
      shape: [options.additiveRank, module.inFeatures],
      ownAxes: [0],
      init: kaimingUniform,
      trainable: true,
    },
    loraB: {
      shape: [module.outFeatures, options.additiveRank],
      ownAxes: [1],
      init: zeros,
      trainable: true,
    },
  }),
  unfit({ inFeatures, outFeatures }, { rank, additiveRank }) {
    const fits = (r: number): boolean => r >= 1 && r <= Math.min(inFeatures, outFeatures);
    return fits(rank) && fits(additiveRank)
      ? undefined
      : `--r_ab and --r_lora (${String(additiveRank)}) from 1 to the smaller side`;
  },
  linear(g, x, frozen, parameters, options, dropout) {
    const { weight, bias, hold } = frozen;
    if (dropout.scale === 1)
      return g.linear(
        x,
        hold(() => combinedWeight(g, weight, parameters, options)),
        bias,
      );
    const additive = { A: parameters.loraA as Value, B: parameters.loraB as Value };
    const scale = (dropout.scale * options.alpha) / options.additiveRank;
    return g.add(
      hira.linear(g, x, frozen, parameters, hiraOptionsOf(options), dropout),
      lowRankUpdate(g, dropout.apply(x), additive, scale),
    );
  },
  mergedWeight: combinedWeight,
});
