import { stripSpace } from "../metrics/python-text.js";
import { meteorDraft } from "./heavy-figures.js";
import type { Scorer } from "./scorer.js";
import { bleuDrafts, finishDrafts, rougeDrafts, type Draft } from "./text-figures.js";
import { itemsOf } from "./text-items.js";

/** Measures of e2e-metrics that need its own programs to check them. */
const leftOut = (["NIST", "CIDEr"] as const).map((key): Draft => ({
  key,
  title: key,
  value: undefined,
  missing: "left out, since no reference that is kept has checked it",
}));

/** Descriptions of restaurants, all references of a meaning together. */
export const e2e: Scorer = {
  summary:
    "BLEU and its precisions, METEOR and ROUGE of pred against all references of its meaning, as Hugging Face evaluate has them",
  columns: [
    ...["bleu", "bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge1", "rouge2", "rougel"],
    ...["NIST", "CIDEr"],
  ],
  async score(answers, options) {
    const items = itemsOf(answers, stripSpace);
    const meteor = await meteorDraft(items, options);
    return {
      rows: answers.length,
      items: items.length,
      figures: finishDrafts([
        ...bleuDrafts(items),
        meteor.draft,
        ...rougeDrafts(items),
        ...leftOut,
      ]),
      counts: { "an empty prediction": items.filter(({ prediction }) => prediction === "").length },
      groups: [],
      remarks: [
        "BLEU, METEOR and ROUGE are Hugging Face evaluate's, not those of e2e-metrics, which tokenizes in other ways",
        ...meteor.remarks,
      ],
    };
  },
};
