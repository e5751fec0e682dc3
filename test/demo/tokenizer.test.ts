import test from "ava";
import { specialTokens, tokenizerConfig, trainTokenizer } from "../../scripts/demo/tokenizer.js";
import { pretraining } from "../../scripts/demo/recipe.js";
import { worldText } from "../../scripts/demo/world.js";
import { makeTokenizer } from "../../src/tokenizer/tokenizer.js";

const tokenizerOf = (texts: Iterable<string>, vocabularySize: number) =>
  makeTokenizer({
    name: "demo",
    modelName: "demo",
    tokenizerJson: JSON.stringify(trainTokenizer(texts, vocabularySize)),
    tokenizerConfigJson: JSON.stringify(tokenizerConfig),
  });

test("trainTokenizer gives a common word one token and any text its bytes back", (t) => {
  const tokenizer = tokenizerOf(["the fox, the fox and the owl", "the fox"], 300);
  t.is(tokenizer.encode(" fox").length, 1);
  for (const text of ["the fox\n\nand 12 owls", "naïve  Ünïcode 狐 🦊", " \t x"])
    t.is(tokenizer.decode(tokenizer.encode(text)), text);
});

test("trainTokenizer merges the most frequent pair first, ties in code point order", (t) => {
  const { model } = trainTokenizer(["ab ab ab cd cd ab"], 400) as {
    model: { merges: [string, string][] };
  };
  // "ab" begins the text without a blank; " ab" comes three times, " cd" twice.
  t.deepEqual(model.merges.slice(0, 2), [
    ["a", "b"],
    ["Ġ", "ab"],
  ]);
});

test("trainTokenizer numbers the special tokens as the demo's config.json does", (t) => {
  const tokenizer = tokenizerOf(["text"], 300);
  t.deepEqual(
    specialTokens.map((token) => tokenizer.encode(token)),
    [[0], [1], [2], [3]],
  );
  t.is(tokenizer.bosId, 1);
  t.is(tokenizer.eosId, 2);
  t.is(tokenizer.padId, 3);
});

test("trainTokenizer keeps the number of a label with its word", (t) => {
  const tokenizer = tokenizerOf(["answer1 answer2 answer1 answer2"], 400);
  t.is(tokenizer.encode(" answer2").length, 1);
  t.is(tokenizer.encode(" answer12").length, tokenizer.encode(" answer1").length + 1);
});

test("trainTokenizer gives the same bytes for the same text", (t) => {
  const texts = Array.from(
    worldText(1, 500, { mix: pretraining.rounds[0].mix }),
    ({ text }) => text,
  );
  const train = (): string => JSON.stringify(trainTokenizer(texts, 600));
  t.is(train(), train());
});
