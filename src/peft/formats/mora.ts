import { JsonFields, share, size, type Kind } from "../../core/json-fields.js";
import { peftPattern } from "../adapter-targets.js";
import type { MoraType } from "../method.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  commonConfig,
  type AdapterFormat,
  type LowRankAdapter,
} from "./format.js";
import { aliasesOf, lowRankTensors, parseTargets, targetConfig, targetFields } from "./low-rank.js";

const moraSuffixes = { M: "lora_A.weight" };
const moraTypes: Kind<MoraType> = {
  name: "1 or 6",
  is: (value): value is MoraType => value === 1 || value === 6,
};

/**
 * MoRA as its authors' fork of peft writes it: LORA with `use_mora`, and M as `lora_A` [side, side].
 *
 * The peft package refuses the tensors: they are no LoRA of rank r. Source: kongds/MoRA, peft-mora/src/peft/tuners/lora.
 */
export const moraFormat: AdapterFormat<LowRankAdapter> = {
  title: "MoRA",
  reads: (config) => config.peft_type === "LORA" && config.use_mora === true,
  writes: (adapter): adapter is LowRankAdapter => adapter.method === "mora",
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const { targets, saved } = parseTargets(fields, base);
    checkTask(fields);
    const withoutEffect = ["alpha_pattern", "init_lora_weights", "lora_alpha", "use_mora"];
    checkOtherFields(
      config,
      [...targetFields, "bias", "lora_dropout", "mora_type", ...withoutEffect],
      fields,
    );
    return {
      method: "mora",
      baseModel: baseModelOf(config),
      modules: new Map(targets.map(({ path }) => [path, { rank: rankOf(path) }])),
      dropout: fields.optional("lora_dropout", share, 0),
      ...saved,
      randomR: false,
      moraType: fields.optional("mora_type", moraTypes, 1),
    };
  },
  configOf: (adapter, base) => ({
    ...commonConfig(adapter),
    ...targetConfig(adapter, base),
    bias: "none",
    hira_note:
      "y = x W0^T + decompress(compress(x) M^T), for the peft fork of github.com/kongds/MoRA; the peft package has no MoRA",
    init_lora_weights: true,
    lora_dropout: adapter.dropout,
    mora_type: adapter.moraType ?? 6,
    peft_type: "LORA",
    use_mora: true,
  }),
  tensors: (adapter, base) => lowRankTensors(adapter, base, moraSuffixes),
  aliases: aliasesOf(moraSuffixes),
};
