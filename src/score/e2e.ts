import { stripSpace } from "../metrics/python-text.js";
import { ciderDraft, meteorDraft, nistDraft } from "./heavy-figures.js";
import type { Scorer } from "./scorer.js";
import { bleuDrafts, finishDrafts, rougeDrafts } from "./text-figures.js";
import { itemsOf } from "./text-items.js";

/** Descriptions of restaurants, all references of a meaning together. */
export const e2e: Scorer = {
  summary:
    "pred against all references of its meaning: BLEU and its precisions, METEOR, ROUGE, NIST and CIDEr",
  main: ["bleu", "rougel"],
  columns: [
    ...["bleu", "bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge1", "rouge2", "rougel"],
    ...["NIST", "CIDEr"],
  ],
  async score(answers, options) {
    const items = itemsOf(answers, stripSpace);
    const empty = items.filter(({ prediction }) => prediction === "").length;
    if (options.onlyMain === true)
      return {
        ...{ rows: answers.length, items: items.length, groups: [], remarks: [] },
        figures: finishDrafts([...bleuDrafts(items), ...rougeDrafts(items)]),
        counts: { "an empty prediction": empty },
      };
    const meteor = await meteorDraft(items, options);
    return {
      rows: answers.length,
      items: items.length,
      figures: finishDrafts([
        ...bleuDrafts(items),
        meteor.draft,
        ...rougeDrafts(items),
        nistDraft(items),
        ciderDraft(items),
      ]),
      counts: { "an empty prediction": empty },
      groups: [],
      remarks: [
        "NIST and CIDEr are on scales of their own, not in percent; all are the measures of common packages, while e2e-metrics tokenizes for METEOR, ROUGE-L and CIDEr with a Java program",
        ...meteor.remarks,
      ],
    };
  },
};
