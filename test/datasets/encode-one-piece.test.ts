import { fileURLToPath } from "node:url";
import test from "ava";
import type { CompatName } from "../../src/core/compat.js";
import { buildBatch, trainingLayout } from "../../src/datasets/build-batch.js";
import { encodeTrainingRows, trainingTargetTokens } from "../../src/datasets/encode-rows.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";

const tokenizer = await loadTokenizer(
  fileURLToPath(new URL("../fixtures/tokenizer/llama3-style", import.meta.url)),
);
const template = templates[0];
const rows = [
  { context: "P: i sail. Q: hello R: ", target: "hi there ." },
  { context: "name[A]", target: "This is A." },
];
const encode = (compat: readonly CompatName[], maxContextTokens = 150, some = rows) =>
  encodeTrainingRows(some, {
    tokenizer,
    template,
    maxContextTokens,
    maxTargetTokens: 40,
    path: "train.json",
    compat: new Set(compat),
  });
const prompt = (context: string): string => contextText(template, context);
const { bosToken = "", eosToken = "", bosId = -1, eosId = -1 } = tokenizer;

test("rows of template 0 are BOS, the prompt as in decoding, the target and EOS; the loss is on the last two", async (t) => {
  const set = await encode([]);
  for (const [i, { context, target }] of rows.entries()) {
    const { ids = [], contextLength = 0, labels } = set.rows[i] ?? {};
    t.deepEqual([...ids.slice(0, contextLength)], [bosId, ...tokenizer.encode(prompt(context))]);
    t.deepEqual([...ids.slice(contextLength)], [...tokenizer.encode(target), eosId]);
    t.is(labels, undefined);
  }
});

test("compat loss: the loss runs over prompt and answer, from the second token on", async (t) => {
  const [ours, all] = [await encode([]), await encode(["loss"])];
  for (const [i, row] of all.rows.entries()) {
    t.deepEqual(row.ids, ours.rows[i]?.ids);
    t.is(row.contextLength, ours.rows[i]?.contextLength ?? -1);
    t.deepEqual([...(row.labels ?? [])], [-100, ...row.ids.slice(1)]);
  }
});

test("compat tokens: one text, cut at the table's length; the loss is on what follows the colon", async (t) => {
  const set = await encode(["tokens"]);
  for (const [i, { context, target }] of rows.entries()) {
    const { ids = [], contextLength, labels = [] } = set.rows[i] ?? {};
    const whole = tokenizer.encode(`${bosToken}${prompt(context)}${target}${eosToken}`);
    const silent = tokenizer.encode(bosToken + prompt(context).trimEnd()).length;
    t.deepEqual([...ids], whole);
    t.is(contextLength, 0);
    t.deepEqual(
      [...labels],
      whole.map((id, at) => (at < silent ? -100 : id)),
    );
    t.true(tokenizer.decode(whole.slice(0, silent)).endsWith("TARGET:"));
  }
  const cut = await encodeTrainingRows(rows, {
    ...{ tokenizer, template, path: "f", compat: new Set(["tokens"] as const) },
    ...{ maxContextTokens: 20, maxTargetTokens: 40, allowsUnlabelled: true },
  });
  t.deepEqual(
    cut.rows.map(({ ids }) => ids.length),
    [20, 20],
  );
  t.deepEqual(cut.cutTargets, [0, 1]);
});

test("compat tokens, loss: nothing is masked but the first token, and rows begin in column 0", async (t) => {
  const set = await encode(["tokens", "loss"]);
  for (const { ids, labels } of set.rows) t.deepEqual([...(labels ?? [])], [-100, ...ids.slice(1)]);
  const compat = new Set(["tokens", "loss", "pad"] as const);
  const limits = { maxContextTokens: 150, maxTargetTokens: 40, inOnePiece: true };
  const batch = buildBatch(set.rows, {
    layout: trainingLayout(limits, compat),
    padId: tokenizer.padId,
  });
  t.is(batch.seq, 150);
  for (const [i, { ids }] of set.rows.entries())
    t.deepEqual(Array.from(batch.inputIds.slice(150 * i, 150 * i + ids.length), Number), [...ids]);
});

test("compat tokens, loss, pad: labels equal to the pad id carry no loss", async (t) => {
  const row = { context: "a", target: `b ${tokenizer.padToken} c` };
  const set = await encode(["tokens", "loss", "pad"], 150, [row]);
  const { ids = [], labels = [] } = set.rows[0] ?? {};
  t.true([...ids].includes(tokenizer.padId));
  t.deepEqual(
    [...labels],
    Array.from(ids, (id, at) => (at === 0 || id === tokenizer.padId ? -100 : id)),
  );
});

test("trainingTargetTokens gives a target outside template 4 as much room as a context, whatever the flag cuts", (t) => {
  const member = { template, maxContextTokens: 155, maxNewTokens: 200 };
  t.is(trainingTargetTokens(member, undefined), 200);
  t.is(trainingTargetTokens({ ...member, maxNewTokens: 40 }, 4), 155);
  t.is(trainingTargetTokens(member, 300), 300);
  const four = { template: templates[4], maxContextTokens: 155, maxNewTokens: 200 };
  t.deepEqual(
    [trainingTargetTokens(four, 4), trainingTargetTokens(four, 4, new Set(["names"]))],
    [200, 4],
  );
});
