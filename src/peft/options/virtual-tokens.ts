import { defineOptions } from "../option-group.js";

/** --virtual_tokens: how many stand in front of the text. */
export const virtualTokenOptions = defineOptions({
  phase: "trained",
  flags: {
    virtual_tokens: {
      kind: "integer",
      group: "Model and method",
      default: 8,
      min: 1,
      help: "Length of a prefix or a soft prompt",
    },
  },
  read: ({ virtual_tokens: virtualTokens }) => ({
    virtualTokens,
    /** False only under --compat=mask: the authors' program attends to padding in training. */
    masksPadding: true,
  }),
  ofCompat: (compat) => ({ masksPadding: !compat.has("mask") }),
  valuesOf: ({ virtualTokens }) => ({ virtual_tokens: virtualTokens }),
});

/** How many virtual tokens there are, and what they see. */
export type VirtualTokenOptions = (typeof virtualTokenOptions)["defaults"];

/** --encoder_hidden_size: the inner width of what makes virtual tokens; undefined for the width of what it makes. */
export const encoderOptions = defineOptions({
  phase: "start",
  flags: {
    encoder_hidden_size: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: null,
      min: 1,
      help: "Inner width of what makes virtual tokens (p-tuning, --prefix_projection); if not given, that of a token",
    },
  },
  read: ({ encoder_hidden_size: width }): { readonly encoderHiddenSize: number | undefined } => ({
    encoderHiddenSize: width ?? undefined,
  }),
});
