import { fileURLToPath } from "node:url";
import test from "ava";
import type { Compat } from "../../src/core/compat.js";
import { UserError } from "../../src/core/errors.js";
import {
  encodePrompts,
  encodeTrainingRows,
  targetTokensInTraining,
} from "../../src/datasets/encode-rows.js";
import type { EncodingOptions } from "../../src/datasets/encoding.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";

const tokenizer = await loadTokenizer(
  fileURLToPath(new URL("../fixtures/tokenizer/llama3-style", import.meta.url)),
);
const asOriginal: Compat = new Set(["tokens", "pad", "names"]);
const options = {
  tokenizer,
  template: templates[4],
  maxContextTokens: 256,
  path: "train.json",
} satisfies EncodingOptions;
const rows = [
  {
    context: "Which is warm? Answer1: the sun Answer2: ice",
    target: "the correct answer is answer1",
  },
  { context: "Is a river cold?", target: "the correct answer is true" },
];
const prompt = (input: string): string => contextText(templates[4], input);

test("encodeTrainingRows puts BOS before the context and a labelled EOS behind the target", async (t) => {
  const set = await encodeTrainingRows(rows, { ...options, maxTargetTokens: 16 });
  for (const [i, row] of rows.entries()) {
    const encoded = set.rows[i];
    t.is(encoded?.row, i);
    const ids = [...(encoded?.ids ?? [])];
    const contextLength = encoded?.contextLength ?? 0;
    t.deepEqual(ids.slice(0, contextLength), [
      tokenizer.bosId,
      ...tokenizer.encode(prompt(row.context)),
    ]);
    t.deepEqual(ids.slice(contextLength), [...tokenizer.encode(row.target), tokenizer.eosId]);
    t.is(encoded?.labels, undefined);
  }
  t.deepEqual([set.cutContexts, set.cutTargets], [[], []]);
});

test("encodeTrainingRows under compat puts neither BOS nor EOS", async (t) => {
  const set = await encodeTrainingRows(rows, {
    ...options,
    maxTargetTokens: 16,
    compat: asOriginal,
  });
  for (const [i, row] of rows.entries()) {
    t.deepEqual(
      [...(set.rows[i]?.ids ?? [])],
      [...tokenizer.encode(prompt(row.context)), ...tokenizer.encode(row.target)],
    );
  }
});

test("a context over its limit loses the end of its input and keeps the response marker", async (t) => {
  const long = { context: `${"cold water ".repeat(200)}😀😀`, target: "the sun" };
  const set = await encodeTrainingRows([rows[1] ?? long, long], {
    ...options,
    maxContextTokens: 128,
    maxTargetTokens: 16,
  });
  t.deepEqual(set.cutContexts, [1]);
  const { ids, contextLength } = set.rows[1] ?? { ids: new Int32Array(), contextLength: 0 };
  t.is(contextLength, 128);
  const text = tokenizer.decode([...ids.subarray(0, contextLength)]);
  t.true(text.startsWith(`${tokenizer.bosToken ?? ""}${prompt("").slice(0, 60)}`));
  t.true(text.endsWith("\n\n### Response:\n"));
  const prompts = await encodePrompts([long], { ...options, maxContextTokens: 128 });
  t.deepEqual(prompts.rows[0]?.ids, ids.slice(0, contextLength));
  t.deepEqual(prompts.cutContexts, [0]);
});

test("under compat a context is cut at its right end, in training without and in decoding with BOS", async (t) => {
  const long = { context: "cold water ".repeat(200), target: "the sun" };
  const limits = { ...options, maxContextTokens: 100, compat: asOriginal };
  const whole = tokenizer.encode(prompt(long.context));
  const set = await encodeTrainingRows([long], { ...limits, maxTargetTokens: 1 });
  t.deepEqual(
    [...(set.rows[0]?.ids ?? [])],
    [...whole.slice(0, 100), ...tokenizer.encode("the sun").slice(0, 1)],
  );
  t.deepEqual([set.cutContexts, set.cutTargets], [[0], [0]]);
  const prompts = await encodePrompts([long], limits);
  t.deepEqual([...(prompts.rows[0]?.ids ?? [])], [tokenizer.bosId ?? -1, ...whole.slice(0, 99)]);
});

test("a limit that the template alone exceeds is an error", async (t) => {
  await t.throwsAsync(encodePrompts(rows, { ...options, maxContextTokens: 10 }), {
    instanceOf: UserError,
    message: /Cannot fit a context into 10 tokens: found \d+ in the template alone/,
  });
});

test("a target over its limit is cut at its end and counted", async (t) => {
  const set = await encodeTrainingRows(rows, { ...options, maxTargetTokens: 3 });
  t.deepEqual(set.cutTargets, [0, 1]);
  const { ids, contextLength } = set.rows[0] ?? { ids: new Int32Array(), contextLength: 0 };
  t.deepEqual(
    [...ids.subarray(contextLength)],
    tokenizer.encode("the correct answer is answer1").slice(0, 3),
  );
});

test("a row without a labelled token stops the run and is named", async (t) => {
  const empty = Array.from({ length: 12 }, () => ({ context: "c", target: "" }));
  await t.throwsAsync(
    encodeTrainingRows([...rows, ...empty], { ...options, maxTargetTokens: 16 }),
    {
      instanceOf: UserError,
      message:
        /Cannot train on train\.json: found no labelled token in rows 3, 4, .*12 and 2 more, expected a target/,
    },
  );
});

test("under compat a label equal to the pad id carries no loss", async (t) => {
  const row = { context: "c", target: `a${tokenizer.padToken}b` };
  const compat = await encodeTrainingRows([row], {
    ...options,
    maxTargetTokens: 16,
    compat: asOriginal,
  });
  const labels = [...(compat.rows[0]?.labels ?? [])].slice(compat.rows[0]?.contextLength);
  t.deepEqual(labels, [...tokenizer.encode("a"), -100, ...tokenizer.encode("b")]);
  const ours = await encodeTrainingRows([row], { ...options, maxTargetTokens: 16 });
  t.is(ours.rows[0]?.labels, undefined);
  const onlyPad = { context: "c", target: tokenizer.padToken };
  await t.throwsAsync(
    encodeTrainingRows([onlyPad], { ...options, maxTargetTokens: 16, compat: asOriginal }),
    { instanceOf: UserError, message: /no labelled token in row 1/ },
  );
});

test("--max_new_tokens lengthens training targets, and shortens them under compat alone", (t) => {
  t.is(targetTokensInTraining(16, undefined), 16);
  t.is(targetTokensInTraining(16, 40), 40);
  t.is(targetTokensInTraining(16, 4), 16);
  t.is(targetTokensInTraining(16, 4, asOriginal), 4);
});

test("an mmlu prompt over the limit loses the front of its question; compat tokens loses Answer: instead", async (t) => {
  const lead = "The following are multiple choice questions (with answers) about sums.\n\n";
  const context = `${lead}${"one and ".repeat(60)}two?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:`;
  const asked = { ...options, template: templates[7], maxContextTokens: 140 };
  const row = { context, target: "B" };
  const { rows: prompts, cutContexts } = await encodePrompts([row], asked);
  t.deepEqual(cutContexts, [0]);
  const ids = prompts[0]?.ids ?? new Int32Array();
  t.is(ids.length, 140);
  const text = tokenizer.decode([...ids]);
  t.true(text.includes(lead), text);
  t.true(text.endsWith("two?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"), text);
  const trained = await encodeTrainingRows([row], { ...asked, maxTargetTokens: 4 });
  t.deepEqual(trained.rows[0]?.ids.subarray(0, 140), ids);
  const original = await encodePrompts([row], { ...asked, compat: asOriginal });
  t.deepEqual(
    original.rows[0]?.ids,
    Int32Array.from(tokenizer.encode((tokenizer.bosToken ?? "") + context).slice(0, 140)),
  );
  // A ready-made row has no such line: it loses its front.
  const plain = await encodePrompts(
    [{ context: `${"a b ".repeat(90)}Answer:`, target: "" }],
    asked,
  );
  t.true(tokenizer.decode([...(plain.rows[0]?.ids ?? [])]).endsWith("Answer:"));
});
