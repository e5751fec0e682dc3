import { positive, size } from "../../core/json-fields.js";
import { hilora, type AdditiveOptions } from "../hilora.js";
import { lowRankFormat } from "./low-rank.js";

/** HiRA and LoRA on the same layers, which peft cannot hold in one adapter: a type that it refuses. */
export const hiloraFormat = lowRankFormat({
  title: "HiLoRA",
  peftType: "HILORA",
  reads: (config) => config.peft_type === "HILORA",
  writes: ({ method }) => method === hilora.name,
  suffixes: {
    A: "hira_A",
    B: "hira_B",
    loraA: "lora_A.weight",
    loraB: "lora_B.weight",
  },
  dropoutField: "lora_dropout",
  ownFields: ["lora_alpha", "r_lora"],
  parseOwn(fields) {
    const additiveRank = fields.number("r_lora", size);
    const alpha = fields.number("lora_alpha", positive);
    return { method: hilora.name, ofModule: () => ({ alpha, additiveRank }) };
  },
  ownConfig({ modules }) {
    const [first] = modules.values() as Iterable<Partial<AdditiveOptions>>;
    return {
      hira_note:
        "y = x (W0 * (1 + B A))^T + lora_alpha / r_lora * x loraA^T loraB^T; the peft package has no such method",
      lora_alpha: first?.alpha ?? 1,
      peft_type: "HILORA",
      r_lora: first?.additiveRank ?? 1,
    };
  },
});
