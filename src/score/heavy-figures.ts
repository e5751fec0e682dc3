import type { Pair } from "../metrics/pair.js";
import type { ScorerOptions } from "./scorer.js";
import type { Draft } from "./text-figures.js";

/** METEOR, and what there is to say of how it came about. */
export const meteorDraft = async (
  _items: readonly Pair[],
  _options: ScorerOptions,
): Promise<{ readonly draft: Draft; readonly remarks: readonly string[] }> => ({
  draft: { key: "meteor", title: "meteor", value: undefined, missing: "it is not built yet" },
  remarks: [],
});

/** BERTScore's three figures: not computed, in words, until an encoder runs. */
export const bertDrafts = ({ bertModel }: ScorerOptions): readonly Draft[] => {
  const missing =
    bertModel === undefined
      ? "BERTScore needs an encoder (--bert_model), and this version runs none yet"
      : `this version runs no encoder yet, so ${bertModel} was not used`;
  return ["bert f1", "BERT Recall", "BERT Precision"].map((key): Draft => ({
    key,
    title: key,
    value: undefined,
    missing,
  }));
};
