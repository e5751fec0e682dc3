import type { Pair } from "../metrics/pair.js";
import { stripSpace } from "../metrics/python-text.js";
import type { Answer } from "./scorer.js";

/** Marks of the original's templates: what a model writes behind one is no part of its answer. */
const marks = ["TARGET:", "Q:", "R:"] as const;

/** The text before the first of the marks, without white space around it. Source: clean_pred of convai2_eval.py. */
export const cutAtMarks = (text: string): string =>
  stripSpace(
    marks.reduce((kept, mark) => {
      const at = kept.indexOf(mark);
      return at < 0 ? kept : kept.slice(0, at);
    }, text),
  );

/**
 * Items of consecutive rows with one context: the prediction of the first of them, and the references of all.
 *
 * References stay as they are. Source: convai2_eval.py.
 */
export const itemsOf = (
  answers: readonly Answer[],
  clean: (prediction: string) => string,
): readonly Pair[] => {
  const items: { readonly context: string; prediction: string; references: string[] }[] = [];
  for (const { context, pred, gt } of answers) {
    const last = items.at(-1);
    if (last?.context === context) last.references.push(gt);
    else items.push({ context, prediction: clean(pred), references: [gt] });
  }
  return items;
};
