import { readFile } from "node:fs/promises";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { makeTextCutter, type AddedToken } from "../../src/tokenizer/added-tokens.js";
import { makeTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.js";

/** Of scripts/reference/added_tokens.py. */
interface Reference {
  readonly name: string;
  readonly tokenizer: object;
  readonly turns: readonly {
    readonly added_tokens: readonly object[];
    readonly texts: readonly (readonly [
      text: string,
      ids: readonly number[],
      decoded: string,
      skipped: string,
    ])[];
    readonly ids: readonly (readonly [ids: readonly number[], decoded: string, skipped: string])[];
  }[];
}
const references = JSON.parse(
  await readFile(new URL("../fixtures/tokenizer/added-tokens.json", import.meta.url), "utf8"),
) as readonly Reference[];

const make = (tokenizerJson: object): Tokenizer =>
  makeTokenizer({
    name: "made-up",
    modelName: "made-up",
    tokenizerJson: JSON.stringify(tokenizerJson),
    tokenizerConfigJson: JSON.stringify({ eos_token: "</s>" }),
  });

for (const { name, tokenizer: json, turns } of references)
  test(`${name} gives the tokenizers library's ids and texts with added tokens of every flag (9.7)`, (t) => {
    for (const { added_tokens, texts, ids: drawn } of turns) {
      const tokenizer = make({ ...json, added_tokens });
      for (const [text, ids, decoded, skipped] of texts) {
        t.deepEqual(tokenizer.encode(text), [...ids], JSON.stringify(text));
        t.is(tokenizer.decode(ids), decoded);
        t.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
      }
      for (const [ids, decoded, skipped] of drawn) {
        t.is(tokenizer.decode(ids), decoded, JSON.stringify(ids));
        t.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
      }
    }
  });

const plain = { singleWord: false, lstrip: false, rstrip: false, normalized: false };
const token = (id: number, content: string, flags: Partial<AddedToken> = {}): AddedToken => ({
  ...plain,
  special: false,
  ...{ id, content },
  ...flags,
});

const cutText = (
  text: string,
  tokens: readonly AddedToken[],
  normalize = (part: string): string => part,
): readonly (string | number)[] =>
  makeTextCutter(tokens, normalize)(text).map((part) => ("id" in part ? part.id : part.text));

test("a single_word token is found beside white space, signs and the text's ends only (9.7)", (t) => {
  const foo = [token(9, "foo", { singleWord: true })];
  t.deepEqual(cutText("food", foo), ["food"]);
  t.deepEqual(cutText("a foo, barfoo foo", foo), ["a ", 9, ", barfoo ", 9]);
  // Letters of any alphabet, marks, digits and the low line are parts of words; signs and U+FEFF are not.
  for (const letter of ["é", "語", "_", "1", "٣", "\u0301", "\u200d", "𝒜"])
    for (const text of [`${letter}foo`, `foo${letter}`]) t.deepEqual(cutText(text, foo), [text]);
  t.deepEqual(cutText("-foo\ufeff", foo), ["-", 9, "\ufeff"]);
});

test("what a word holds of a single_word token hides the shorter tokens in it (9.7)", (t) => {
  const tokens = [token(8, "oo"), token(9, "foo", { singleWord: true })];
  t.deepEqual(cutText("food oo", tokens), ["food ", 8]);
});

test("lstrip and rstrip take Unicode's white space along, and only once (9.7)", (t) => {
  const tokens = [token(1, "<a>", { rstrip: true }), token(2, "<b>", { lstrip: true })];
  t.deepEqual(cutText("x <a> \u0085\u00a0 <b> y", tokens), ["x ", 1, 2, " y"]);
  t.deepEqual(cutText("<a>\ufeffy \t<b>", tokens), [1, "\ufeffy", 2]);
});

test("normalized tokens are looked for in the normalized text between the others (9.7)", (t) => {
  const tokens = [token(1, "FOO", { normalized: true }), token(2, "Bar")];
  const lower = (text: string): string => text.toLowerCase();
  t.deepEqual(cutText("fooBarBAR Foo", tokens, lower), [1, 2, "bar ", 1]);
});

test("an added token whose id or text the vocabulary gives to another is refused by name (9.7)", (t) => {
  const [reference] = references;
  const { model } = reference?.tokenizer as { model: { vocab: Readonly<Record<string, number>> } };
  const a = model.vocab.a ?? NaN;
  const entry = (id: number, content: string): object => ({ id, content, special: true });
  const refused = (...tokens: readonly object[]): string =>
    t.throws(
      () => make({ ...reference?.tokenizer, added_tokens: [...tokens, entry(900, "</s>")] }),
      { instanceOf: UserError },
    ).message;
  t.regex(
    refused(entry(a, "new")),
    new RegExp(`the added token "new" with id ${String(a)}, which the vocabulary gives to "a"`),
  );
  t.regex(
    refused(entry(901, "a")),
    new RegExp(`the added token "a" with id 901, expected ${String(a)}, which`),
  );
  t.regex(
    refused({ id: -1, content: "x" }, { content: "y" }),
    /found 2 faults\n {2}added_tokens\[0\]: /,
  );
});

test("a tokenizer without <unk> or with ids that nobody has decodes the others (9.7)", (t) => {
  const [reference] = references;
  const tokenizer = make({
    ...reference?.tokenizer,
    added_tokens: [{ id: 900, content: "</s>", special: true }],
  });
  t.is(tokenizer.decode([-1, 5000, 900, 899]), "</s>");
});
