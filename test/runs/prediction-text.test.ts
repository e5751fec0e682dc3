import test from "ava";
import type { Compat } from "../../src/core/compat.js";
import { predictionText } from "../../src/runs/prediction-text.js";

const words = ["<pad>", "</s>", "the", " answer", " .", "Q:", " R:", "<unk>"];
const tokenizer = {
  decode: (ids: readonly number[], options: { cleanUpSpaces?: boolean } = {}): string => {
    const text = ids.map((id) => words[id]).join("");
    return options.cleanUpSpaces === true ? text.replaceAll(" .", ".") : text;
  },
  padId: 0,
  padToken: "<pad>",
  eosId: 1,
  eosToken: "</s>",
  cleansUpSpaces: true,
};
const padIsEos = { ...tokenizer, padId: 1, padToken: "</s>" };
const asOriginal: Compat = new Set(["text"]);

test("predictionText ends at the first eos and keeps spaces and special tokens", (t) => {
  t.is(predictionText([2, 3, 4, 7, 1, 2], tokenizer), "the answer .<unk>");
  t.is(predictionText([2, 3, 1, 2], padIsEos), "the answer");
  t.is(predictionText([0, 2, 0, 3, 0], tokenizer), "the answer");
  t.is(predictionText([], tokenizer), "");
});

test("predictionText cuts at the next turn of a dialogue and strips nothing", (t) => {
  t.is(predictionText([3, 5, 2], tokenizer), " answer");
  t.is(predictionText([3, 6, 2], tokenizer), " answer ");
  t.is(predictionText([3, 5, 2], tokenizer, asOriginal), " answer");
});

test("predictionText under compat cleans spaces and removes the pad text before it looks for eos", (t) => {
  t.is(predictionText([2, 3, 4, 0, 1, 2], tokenizer, asOriginal), "the answer.");
  t.is(predictionText([2, 1, 3, 4], padIsEos, asOriginal), "the answer.");
  t.is(predictionText([2, 4], { ...tokenizer, cleansUpSpaces: false }, asOriginal), "the .");
});
