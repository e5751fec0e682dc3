import type { Kind } from "../../core/json-fields.js";
import { mora, type MoraOptions, type MoraType } from "../mora.js";
import { lowRankFormat } from "./low-rank.js";

const moraTypes: Kind<MoraType> = {
  name: "1 or 6",
  is: (value): value is MoraType => value === 1 || value === 6,
};

/**
 * MoRA as its authors' fork of peft writes it: LORA with `use_mora`, and M as `lora_A` [side, side].
 *
 * The peft package refuses the tensors: they are no LoRA of rank r. Source: kongds/MoRA, peft-mora/src/peft/tuners/lora.
 */
export const moraFormat = lowRankFormat({
  title: "MoRA",
  peftType: "LORA",
  reads: (config) => config.peft_type === "LORA" && config.use_mora === true,
  writes: ({ method }) => method === mora.name,
  suffixes: { M: "lora_A.weight" },
  dropoutField: "lora_dropout",
  // All but mora_type are without an effect.
  ownFields: ["mora_type", "alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "use_mora"],
  parseOwn: (fields) => ({
    method: mora.name,
    options: { moraType: fields.optional("mora_type", moraTypes, 1) },
  }),
  ownConfig: ({ options }) => ({
    bias: "none",
    hira_note:
      "y = x W0^T + decompress(compress(x) M^T), for the peft fork of github.com/kongds/MoRA; the peft package has no MoRA",
    init_lora_weights: true,
    mora_type: (options as Partial<MoraOptions>).moraType ?? 6,
    peft_type: "LORA",
    use_mora: true,
  }),
});
