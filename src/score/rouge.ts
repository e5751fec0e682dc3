import { stripSpace } from "../metrics/python-text.js";
import type { Scorer } from "./scorer.js";
import { finishDrafts, rougeDrafts } from "./text-figures.js";
import { itemsOf } from "./text-items.js";

/** Summaries: the original has no scorer of its own for samsum. */
export const rouge: Scorer = {
  summary: "ROUGE-1, ROUGE-2 and ROUGE-L of pred and gt, F measures without a stemmer",
  main: ["rouge1", "rouge2", "rougel"],
  columns: ["rouge1", "rouge2", "rougel"],
  async score(answers) {
    const items = itemsOf(answers, stripSpace);
    return {
      rows: answers.length,
      items: items.length,
      figures: finishDrafts(rougeDrafts(items)),
      counts: { "an empty prediction": items.filter(({ prediction }) => prediction === "").length },
      groups: [],
      remarks: [],
    };
  },
};
