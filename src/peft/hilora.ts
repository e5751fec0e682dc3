import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { hira } from "./hira.js";
import { kaimingUniform, zeros } from "./init.js";
import { addedWeight, lowRankReads, lowRankUpdate } from "./lora.js";
import type { LinearMethod, MethodOptions, ParameterValues } from "./method.js";

/** W0 * (1 + B A) + alpha / additiveRank * loraB loraA. */
const combinedWeight = (
  g: Graph,
  weight: Value,
  parameters: ParameterValues,
  options: MethodOptions,
): Value =>
  addedWeight(
    g,
    hira.mergedWeight(g, weight, parameters, options),
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
export const hilora: LinearMethod = {
  kind: "linear",
  name: "hilora",
  reads: { ...lowRankReads, alpha: true, additiveRank: true, dropout: true },
  parameters: (module, options) => ({
    ...hira.parameters(module, options),
    loraA: {
      shape: [options.additiveRank, module.inFeatures],
      init: kaimingUniform,
      trainable: true,
    },
    loraB: { shape: [module.outFeatures, options.additiveRank], init: zeros, trainable: true },
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
      hira.linear(g, x, frozen, parameters, options, dropout),
      lowRankUpdate(g, dropout.apply(x), additive, scale),
    );
  },
  mergedWeight: combinedWeight,
};
