import type { Compat } from "../core/compat.js";
import { isInOnePiece } from "./encode-one-piece.js";
import type { Template } from "./templates.js";

/** The most tokens that a row may have. */
export interface LengthLimits {
  readonly context: number;
  readonly target: number;
}

/**
 * How rows lose what a limit cuts: "ours" in the middle of the context and at the end of the target; "front": likewise, but at the context's front; "original" (compat "tokens") at the
 * right end of both; "one piece" (compat "tokens" outside template 4) at the right end of the row as a whole.
 */
export type Cutting = "ours" | "front" | "original" | "one piece";

/** How the rows of a template are cut. */
export const cuttingOf = (template: Template, compat: Compat): Cutting => {
  if (isInOnePiece(template, compat)) return "one piece";
  if (compat.has("tokens")) return "original";
  return template.leadOf ? "front" : "ours";
};

/** What is said of contexts and targets that a limit cuts, behind their number. */
export const cutTexts = (
  { context, target }: LengthLimits,
  cutting: Cutting,
): { readonly contexts: string; readonly targets: string } => {
  if (cutting === "one piece")
    return {
      contexts: `contexts over ${String(context)} tokens, cut: their rows lose the whole target`,
      targets: `rows over ${String(context)} tokens, cut: they lose their target's end and EOS`,
    };
  const asOriginal = cutting === "original";
  return {
    contexts: `contexts over ${String(context)} tokens, cut${asOriginal ? ": they lose ### Response:" : ` at their ${cutting === "front" ? "question's front" : "text's end"}`}`,
    targets: `targets over ${String(target)} tokens, cut: they lose their end${asOriginal ? "" : " and EOS"}`,
  };
};

/** How many columns a row has that is padded to the limits, as in the original. */
export const columnsOfLimits = ({ context, target }: LengthLimits, cutting: Cutting): number =>
  cutting === "one piece" ? context : context + target;
