import { bertDrafts, meteorDraft } from "./heavy-figures.js";
import type { Scorer } from "./scorer.js";
import { bleuDrafts, distinctDraft, f1Draft, finishDrafts, rougeDrafts } from "./text-figures.js";
import { cutAtMarks, itemsOf } from "./text-items.js";

/** Free text against one or more references: convai2_eval.py. */
export const convai2: Scorer = {
  summary:
    "pred, cut at TARGET:, Q: and R:, against the gts of all rows of its context: BLEU and its precisions, METEOR, ROUGE, BERTScore, F1 of words, distinct n-grams",
  main: ["bleu", "f1"],
  columns: [
    ...["bleu", "meteor", "rougel", "bleu1", "bleu2", "bleu3", "bleu4", "rouge1", "rouge2"],
    ...["bert f1", "BERT Recall", "BERT Precision", "f1", "dist1", "dist2"],
  ],
  table: "results.csv",
  async score(answers, options) {
    const items = itemsOf(answers, cutAtMarks);
    const empty = items.filter(({ prediction }) => prediction === "").length;
    if (options.onlyMain === true)
      return {
        ...{ rows: answers.length, items: items.length, groups: [], remarks: [] },
        figures: finishDrafts([...bleuDrafts(items), f1Draft(items)]),
        counts: { "an empty prediction": empty },
      };
    const meteor = await meteorDraft(items, options);
    const bert = await bertDrafts(items, options);
    const figures = finishDrafts([
      ...bleuDrafts(items),
      meteor.draft,
      ...rougeDrafts(items),
      ...bert.drafts,
      f1Draft(items),
      distinctDraft(items, 1),
      distinctDraft(items, 2),
    ]);
    return {
      ...{ rows: answers.length, items: items.length, figures, groups: [] },
      counts: { "an empty prediction": empty },
      remarks: [...meteor.remarks, ...bert.remarks],
    };
  },
};
