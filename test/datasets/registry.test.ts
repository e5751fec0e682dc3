import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  datasetNames,
  findDataset,
  findSingleDataset,
  isDatasetFile,
} from "../../src/datasets/registry.js";
import { templates } from "../../src/datasets/templates.js";

test("findDataset knows the sets of this version with the original's folders and lengths", (t) => {
  const folders = {
    common_170k: "commonsense_170k",
    boolq: "boolq",
    piqa: "piqa",
    siqa: "social_i_qa",
    hellas: "hellaswag",
    winog: "winogrande",
    arce: "ARC-Easy",
    arcc: "ARC-Challenge",
    obqa: "openbookqa",
  };
  for (const [name, folder] of Object.entries(folders)) {
    const { member } = findSingleDataset(name);
    t.is(member.folder, `llm_adapt/${folder}`);
    t.deepEqual([member.maxContextTokens, member.maxNewTokens], [256, 16]);
    const isMixed = name === "common_170k";
    t.is(member.ownValidation, isMixed);
    t.is(member.decoding.beams, isMixed ? 1 : 4);
    t.is(member.evaluationBatchDivisor, isMixed ? 1 : 4);
  }
});

test("common_all stands for the eight sets in the original's order, and is not for training", (t) => {
  const group = findDataset("common_all");
  t.deepEqual(group.kind === "group" && group.members, [
    "boolq",
    "piqa",
    "siqa",
    "hellas",
    "winog",
    "arce",
    "arcc",
    "obqa",
  ]);
  t.throws(() => findSingleDataset("common_all"), {
    instanceOf: UserError,
    message: /Cannot train on --dataset common_all/,
  });
});

test("the other sets have the original's folders, lengths, templates and ways to decode", (t) => {
  const found = Object.fromEntries(
    datasetNames.flatMap((name) => {
      const dataset = findDataset(name);
      if (dataset.kind === "group" || dataset.family === findSingleDataset("boolq").family)
        return [];
      const { folder, template, decoding, ...member } = dataset.member;
      const index = Object.entries(templates).find(([, known]) => known === template)?.[0];
      return [
        [
          name,
          [
            ...[folder, index, member.maxContextTokens, member.maxNewTokens, member.ownValidation],
            [decoding.beams, decoding.lengthPenalty, decoding.noRepeatNgramSize],
            decoding.adjustable,
          ],
        ],
      ];
    }),
  );
  const fixed = [[4, 0.9, 4], false];
  t.deepEqual(found, {
    e2e_nlg: ["e2e", "0", 150, 40, true, ...fixed],
    dailydialog: ["dailydialog", "0", 256, 32, true, ...fixed],
    samsum: ["samsum", "0", 256, 40, true, ...fixed],
    e2e_cleaned: ["e2e_nlg_cleaned", "0", 150, 40, true, ...fixed],
    mmlu: ["mmlu", "7", 512, 1, false, [1, 1, 0], false],
    gsm8k: ["llm_adapt/gsm8k", "4", 155, 200, false, [4, 1, 0], true],
    convai2: ["convai2", "0", 512, 32, true, ...fixed],
    meta_math: ["meta_math", "0", 155, 200, false, ...fixed],
  });
  t.is(datasetNames.length, 18);
});

test("an unknown name gets a suggestion", (t) => {
  const error = t.throws(() => findDataset("boolk"), { instanceOf: UserError });
  t.regex(error?.message ?? "", /Cannot use --dataset "boolk": expected one of e2e_nlg/);
  t.is(error.hint, 'Did you mean "boolq"?');
});

test("isDatasetFile tells files from names", (t) => {
  t.deepEqual(["rows.jsonl", "a/b.jsonl.gz", "boolq", "rows.json"].map(isDatasetFile), [
    true,
    true,
    false,
    true,
  ]);
});
