import test from "ava";
import { bleu } from "../../src/metrics/bleu.js";
import { distinct, distinctScore } from "../../src/metrics/distinct.js";
import { rouge } from "../../src/metrics/rouge.js";
import { tokenF1 } from "../../src/metrics/token-f1.js";

test("bleu of equal texts is 1, and its precisions are shares of n-grams", (t) => {
  const pair = { prediction: "we saw two dogs today", references: ["we saw two dogs today"] };
  t.is(bleu([pair]).bleu, 1);
  const shorter = bleu([{ prediction: "we saw a dog", references: ["we saw two dogs"] }]);
  t.deepEqual(shorter.precisions, [0.5, 1 / 3, 0, 0]);
  t.is(shorter.bleu, 0);
});

test("bleu of empty predictions is 0 instead of a division by zero", (t) => {
  t.is(bleu([{ prediction: "", references: ["a cat"] }]).bleu, 0);
});

test("rouge takes the best reference for each figure", (t) => {
  const { rouge1, rouge2, rougeL } = rouge([
    { prediction: "the cat sat", references: ["a dog ran off", "The cat, it sat."] },
  ]);
  t.is(rouge1, 6 / 7);
  t.is(rouge2, 2 / 5);
  t.is(rougeL, 6 / 7);
});

test("tokenF1 counts words as they stand", (t) => {
  t.is(tokenF1({ prediction: "a b b", references: ["b c", "A b ."] }), 0.4);
  t.is(tokenF1({ prediction: "", references: ["x"] }), 0);
});

test("distinct splits at single spaces, and knows itself without each text", (t) => {
  t.is(distinct(["a b a", " c "], 1), 3 / 4);
  t.is(distinct(["a", "b"], 2), undefined);
  const texts = ["a b a", "a c", ""];
  const { without } = distinctScore(texts, 1);
  for (const i of texts.keys())
    t.is(
      without[i],
      distinct(
        texts.filter((_, j) => j !== i),
        1,
      ),
    );
});
