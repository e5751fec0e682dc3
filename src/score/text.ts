import { stripSpace } from "../metrics/python-text.js";
import type { Scorer } from "./scorer.js";
import { shareFigure } from "./share.js";
import { bleuDrafts, f1Draft, finishDrafts, rougeDrafts } from "./text-figures.js";
import { itemsOf } from "./text-items.js";

/** Answers to a person's own rows: any text against what was expected, without white space around either. */
export const text: Scorer = {
  summary: "pred against gt as texts: exact match, BLEU and its precisions, ROUGE, F1 of words",
  main: ["exact", "rougel"],
  columns: [
    ...["exact", "bleu", "bleu1", "bleu2", "bleu3", "bleu4"],
    ...["rouge1", "rouge2", "rougel", "f1"],
  ],
  async score(answers) {
    const items = itemsOf(answers, stripSpace);
    const exact = items.map(({ prediction, references }) =>
      references.some((reference) => stripSpace(reference) === prediction),
    );
    return {
      rows: answers.length,
      items: items.length,
      figures: [
        shareFigure("exact", "exact match", exact),
        ...finishDrafts([...bleuDrafts(items), ...rougeDrafts(items), f1Draft(items)]),
      ],
      counts: { "an empty prediction": items.filter(({ prediction }) => prediction === "").length },
      groups: [],
      remarks: [],
    };
  },
};
