import { JsonFields, positive, share, size } from "../../core/json-fields.js";
import { peftPattern } from "../adapter-targets.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  commonConfig,
  type AdapterFormat,
  type LowRankAdapter,
} from "./format.js";
import { aliasesOf, lowRankTensors, parseTargets, targetConfig, targetFields } from "./low-rank.js";

const hiloraSuffixes = {
  A: "hira_A",
  B: "hira_B",
  loraA: "lora_A.weight",
  loraB: "lora_B.weight",
};

/** HiRA and LoRA on the same layers, which peft cannot hold in one adapter: a type that it refuses. */
export const hiloraFormat: AdapterFormat<LowRankAdapter> = {
  title: "HiLoRA",
  reads: (config) => config.peft_type === "HILORA",
  writes: (adapter): adapter is LowRankAdapter => adapter.method === "hilora",
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const additiveRank = fields.number("r_lora", size);
    const alpha = fields.number("lora_alpha", positive);
    const { targets, saved } = parseTargets(fields, base);
    checkTask(fields);
    checkOtherFields(config, [...targetFields, "lora_alpha", "lora_dropout", "r_lora"], fields);
    return {
      method: "hilora",
      baseModel: baseModelOf(config),
      modules: new Map(
        targets.map(({ path }) => [path, { rank: rankOf(path), alpha, additiveRank }]),
      ),
      dropout: fields.optional("lora_dropout", share, 0),
      ...saved,
      randomR: false,
    };
  },
  configOf(adapter, base) {
    const [first] = adapter.modules.values();
    return {
      ...commonConfig(adapter),
      ...targetConfig(adapter, base),
      hira_note:
        "y = x (W0 * (1 + B A))^T + lora_alpha / r_lora * x loraA^T loraB^T; the peft package has no such method",
      lora_alpha: first?.alpha ?? 1,
      lora_dropout: adapter.dropout,
      peft_type: "HILORA",
      r_lora: first?.additiveRank ?? 1,
    };
  },
  tensors: (adapter, base) => lowRankTensors(adapter, base, hiloraSuffixes),
  aliases: aliasesOf(hiloraSuffixes),
};
