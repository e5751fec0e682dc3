import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  datasetNames,
  findDataset,
  findSingleDataset,
  isPreTokenizedName,
} from "../../src/datasets/registry.js";

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

test("every other name of the original says that it comes later", (t) => {
  const later = datasetNames.filter((name) => {
    try {
      findDataset(name);
      return false;
    } catch (error) {
      t.true(error instanceof UserError && /it comes in a later version/.test(error.message));
      return true;
    }
  });
  t.deepEqual(later, [
    "e2e_nlg",
    "dailydialog",
    "samsum",
    "e2e_cleaned",
    "mmlu",
    "gsm8k",
    "convai2",
    "meta_math",
  ]);
  t.is(datasetNames.length, 18);
});

test("an unknown name gets a suggestion", (t) => {
  const error = t.throws(() => findDataset("boolk"), { instanceOf: UserError });
  t.regex(error?.message ?? "", /Cannot use --dataset "boolk": expected one of e2e_nlg/);
  t.is(error.hint, 'Did you mean "boolq"?');
});

test("isPreTokenizedName tells files from names", (t) => {
  t.deepEqual(["rows.jsonl", "a/b.jsonl.gz", "boolq", "rows.json"].map(isPreTokenizedName), [
    true,
    true,
    false,
    true,
  ]);
});
