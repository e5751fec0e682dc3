import { defineOptions } from "../option-group.js";

/** --lora_dropout: the share of the input's elements that the adapter does not see in training. */
export const dropoutOptions = defineOptions({
  phase: "training",
  flags: {
    lora_dropout: {
      ours: true,
      kind: "number",
      group: "Model and method",
      default: 0,
      min: 0,
      help: "Share of a layer's input, below 1, that LoRA's path drops in training; not for hira",
    },
  },
  read({ lora_dropout: dropout }, { faults }) {
    if (dropout >= 1)
      faults.push({
        what: "--lora_dropout",
        found: String(dropout),
        expected: "a share below 1",
      });
    return { dropout };
  },
  valuesOf: ({ dropout }) => ({ lora_dropout: dropout }),
  misplaced: ({ dropout }, { peftType, suitable, lacks }) =>
    dropout > 0
      ? {
          message: `Cannot use --lora_dropout=${String(dropout)} with --peft_type=${peftType}: expected 0, ${lacks.dropout ?? "or a method with LoRA's path"}`,
          hint: `Dropout is for ${suitable.slice(0, -1).join(", ")} and ${suitable.at(-1) ?? ""}`,
        }
      : undefined,
});
