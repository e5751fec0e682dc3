import { defineOptions } from "../option-group.js";

/** --lora_alpha: LoRA and its kin scale their update by it over the rank. */
export const alphaOptions = defineOptions({
  phase: "trained",
  flags: {
    lora_alpha: {
      ours: true,
      kind: "number",
      group: "Model and method",
      default: 8,
      above: 0,
      help: "LoRA and its kin scale their update by this over the rank; rslora by this over the rank's root",
    },
  },
  read: ({ lora_alpha: alpha }) => ({ alpha }),
  valuesOf: ({ alpha }) => ({ lora_alpha: alpha }),
});

/** --use_rslora: the scale alpha / sqrt(rank) in place of alpha / rank. */
export const stabilizationOptions = defineOptions({
  phase: "trained",
  flags: {
    use_rslora: {
      ours: true,
      kind: "switch",
      group: "Model and method",
      help: "lora and its kin with rslora's scale, --lora_alpha over the rank's root, as in peft",
    },
  },
  read: ({ use_rslora: rankStabilized }) => ({ rankStabilized }),
  valuesOf: ({ rankStabilized }) => ({ use_rslora: rankStabilized }),
  misplaced: ({ rankStabilized }, { peftType }) =>
    rankStabilized
      ? {
          message: `Cannot use --use_rslora with --peft_type=${peftType}: expected lora, dora or sparse-lora, whose scale it is`,
        }
      : undefined,
});

/** What the scale of one module's update is made of. */
export type ScaleOptions = (typeof alphaOptions)["defaults"] &
  (typeof stabilizationOptions)["defaults"];
