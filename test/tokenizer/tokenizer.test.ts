import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { readSpecialTokens, type TemplatePiece } from "../../src/tokenizer/special-tokens.js";
import { makeTokenizer } from "../../src/tokenizer/tokenizer.js";
import type { TokenizerSource } from "../../src/tokenizer/tokenizer.js";
import { testWithShared } from "../support/shared.js";

const fixtures = fileURLToPath(new URL("../fixtures/tokenizer/", import.meta.url));

interface Reference {
  readonly tokenizer: string;
  readonly made_up: readonly [text: string, ids: number[], decoded: string, skipped: string][];
  readonly rows: readonly [
    file: string,
    row: number,
    field: string,
    count: number,
    idsDigest: string,
    textDigest: string,
  ][];
}
const references = JSON.parse(
  await readFile(join(fixtures, "reference.json"), "utf8"),
) as Reference[];
const referenceOf = (name: string): Reference =>
  references.find((entry) => entry.tokenizer === name) ?? {
    tokenizer: name,
    made_up: [],
    rows: [],
  };

const digest = (text: string): string =>
  createHash("sha256").update(text, "utf8").digest("hex").slice(0, 16);

test("a Llama-3 style tokenizer gives the ids and texts of the tokenizers library", async (t) => {
  const tokenizer = await loadTokenizer(join(fixtures, "llama3-style"));
  const { made_up } = referenceOf("llama3-style");
  t.true(made_up.length > 30);
  for (const [text, ids, decoded, skipped] of made_up) {
    t.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
    t.is(tokenizer.decode(ids), decoded);
    t.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
  }
});

interface WordPieceReference {
  readonly single: readonly [text: string, ids: number[]][];
  readonly pair: readonly [text: string, pair: string, ids: number[], typeIds: number[]][];
  readonly decoded: readonly [ids: number[], text: string][];
}

test("WordPiece tokenizers, as BERT's, have the ids, special tokens, token types and texts of the tokenizers library", async (t) => {
  const stored = JSON.parse(await readFile(join(fixtures, "wordpiece.json"), "utf8")) as Readonly<
    Record<string, WordPieceReference>
  >;
  for (const [name, { single, pair, decoded }] of Object.entries(stored)) {
    const tokenizer = await loadTokenizer(join(fixtures, name));
    const json = JSON.parse(tokenizer.source.tokenizerJson) as { readonly post_processor: unknown };
    const templates = readSpecialTokens(json.post_processor, name);
    const fill = (template: readonly TemplatePiece[], texts: readonly string[]) => {
      const parts = template.map((piece) => ({
        ids:
          piece.kind === "tokens"
            ? piece.ids
            : tokenizer.encode(texts[piece.of === "first" ? 0 : 1] ?? ""),
        type: piece.type,
      }));
      return {
        ids: parts.flatMap(({ ids }) => ids),
        types: parts.flatMap(({ ids, type }) => ids.map(() => type)),
      };
    };
    t.true(single.length > 300);
    for (const [text, ids] of single)
      t.deepEqual(fill(templates.single, [text]).ids, ids, JSON.stringify(text));
    for (const [first, second, ids, types] of pair)
      t.deepEqual(fill(templates.pair, [first, second]), { ids, types }, JSON.stringify(first));
    for (const [ids, text] of decoded) t.is(tokenizer.decode(ids), text);
  }
});

for (const name of ["tokenizers/smollm2-135m-instruct", "models/stories260K"]) {
  testWithShared(
    `${name} gives the ids and texts of the tokenizers library`,
    "data",
    async (t, shared) => {
      const tokenizer = await loadTokenizer(join(shared, name));
      const { made_up, rows } = referenceOf(name);
      for (const [text, ids, decoded, skipped] of made_up) {
        t.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
        t.is(tokenizer.decode(ids), decoded);
        t.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
      }
      const files = new Map<string, Record<string, string>[]>();
      for (const [file, row, field, count, idsDigest, textDigest] of rows) {
        const texts =
          files.get(file) ??
          (JSON.parse(await readFile(join(shared, file), "utf8")) as Record<string, string>[]);
        files.set(file, texts);
        const ids = tokenizer.encode(texts[row]?.[field] ?? "");
        t.is(ids.length, count);
        t.is(digest(ids.join(",")), idsDigest, `${file}, row ${String(row)}, ${field}`);
        t.is(digest(tokenizer.decode(ids)), textDigest);
      }
      t.is(rows.length, 480);
    },
  );
}

/** A byte-free BPE of single letters: small enough to read. */
const made = (
  config: Record<string, unknown>,
  rest: Partial<TokenizerSource> & { special?: readonly string[] } = {},
): TokenizerSource => {
  const special = rest.special ?? ["<s>", "</s>", "<unk>", "<pad>"];
  return {
    name: "made-up",
    modelName: "made-up",
    tokenizerJson: JSON.stringify({
      added_tokens: special.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: "Fuse" },
      model: {
        type: "BPE",
        vocab: Object.fromEntries([...special, "a", "b", " ", ".", "ab"].map((s, i) => [s, i])),
        merges: ["a b"],
        unk_token: special.includes("<unk>") ? "<unk>" : null,
      },
    }),
    tokenizerConfigJson: JSON.stringify(config),
    ...rest,
  };
};

test("encode adds no special token but turns its text into its id", (t) => {
  const tokenizer = makeTokenizer(
    made({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" }),
  );
  t.deepEqual(tokenizer.encode("ab a"), [8, 6, 4]);
  t.deepEqual(tokenizer.encode("<s>ab</s>"), [0, 8, 1]);
  t.deepEqual(tokenizer.encode(""), []);
});

test("decode keeps special tokens unless told, and cleans spaces only where told", (t) => {
  const tokenizer = makeTokenizer(made({ eos_token: "</s>" }));
  t.is(tokenizer.decode([8, 6, 7, 1]), "ab .</s>");
  t.is(tokenizer.decode([8, 6, 7, 1], { skipSpecialTokens: true }), "ab .");
  t.is(tokenizer.decode([8, 6, 7], { cleanUpSpaces: true }), "ab.");
  t.is(tokenizer.decode([]), "");
  t.true(tokenizer.cleansUpSpaces);
  t.false(
    makeTokenizer(made({ eos_token: "</s>", clean_up_tokenization_spaces: false })).cleansUpSpaces,
  );
});

test("the pad token is the tokenizer's own, else bos for Llama-3, else unk, else eos", (t) => {
  const all = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" };
  const pad = (config: Record<string, unknown>, modelName = "models/tiny"): string =>
    makeTokenizer(made(config, { modelName })).padToken;
  t.is(pad({ ...all, pad_token: { __type: "AddedToken", content: "<pad>" } }, "Llama-3"), "<pad>");
  t.is(pad(all, "meta-llama/Meta-Llama-3-8B"), "<s>");
  t.is(pad(all), "<unk>");
  t.is(pad({ eos_token: "</s>" }), "</s>");
  t.is(makeTokenizer(made(all)).padId, 2);
});

test("a tokenizer without any token to pad with is an error that says so", (t) => {
  t.throws(() => makeTokenizer(made({ bos_token: "<s>" })), {
    instanceOf: UserError,
    message: /Cannot pad with the tokenizer of made-up: found no pad_token, unk_token or eos_token/,
  });
});

test("a special token that is not in the vocabulary is an error that names it", (t) => {
  t.throws(() => makeTokenizer(made({ eos_token: "<end>" })), {
    instanceOf: UserError,
    message: /Cannot use eos_token "<end>" of made-up/,
  });
});

test("special tokens come from special_tokens_map.json too, and from the class's defaults", (t) => {
  const map = makeTokenizer(
    made({}, { specialTokensMapJson: JSON.stringify({ eos_token: { content: "</s>" } }) }),
  );
  t.is(map.eosId, 1);
  const byClass = makeTokenizer(made({ tokenizer_class: "LlamaTokenizerFast" }));
  t.deepEqual([byClass.bosId, byClass.eosId, byClass.padToken], [0, 1, "<unk>"]);
});

test("loadTokenizer says what to do where tokenizer.json is missing", async (t) => {
  const error = await t.throwsAsync(loadTokenizer(join(fixtures, "nowhere")), {
    instanceOf: UserError,
    message: /Cannot load the tokenizer of .*nowhere: found no tokenizer\.json/,
  });
  t.regex(error?.hint ?? "", /tokenizer\.json/);
});

test("a tokenizer.json of an unknown kind is an error that names the file", (t) => {
  t.throws(
    () => makeTokenizer(made({}, { tokenizerJson: JSON.stringify({ model: { type: "Nope" } }) })),
    { instanceOf: UserError, message: /made-up\/tokenizer\.json/ },
  );
});

test("the hash of a tokenizer follows the content of its files alone", (t) => {
  const config = { eos_token: "</s>" };
  const hash = makeTokenizer(made(config)).hash;
  t.is(makeTokenizer(made(config, { name: "elsewhere", modelName: "other" })).hash, hash);
  t.not(makeTokenizer(made({ ...config, bos_token: "<s>" })).hash, hash);
});
