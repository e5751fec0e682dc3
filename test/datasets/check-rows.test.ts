import test from "ava";
import { checkRows, type CheckedSplit, type DataCheck } from "../../src/datasets/check-rows.js";

/** Rows of `context>target`, a token a letter, contexts cut at `limit`. */
const made = (texts: readonly string[], limit = 100): CheckedSplit => {
  const keys = texts.map((text) => {
    const [context = "", target = ""] = text.split(">");
    return { context, target };
  });
  return {
    path: "made-up",
    keys,
    encoded: {
      rows: keys.map(({ context, target }, row) => ({
        row,
        ids: new Int32Array(Math.min(limit, context.length) + target.length),
        contextLength: Math.min(limit, context.length),
      })),
      cutContexts: keys.flatMap(({ context }, row) => (context.length > limit ? [row] : [])),
      cutTargets: keys.flatMap(({ target }, row) => (target.length > 3 ? [row] : [])),
      unlabelled: keys.flatMap(({ target }, row) => (target === "" ? [row] : [])),
      wholeLengths: keys.map(({ context, target }) => ({
        context: context.length,
        target: target.length,
      })),
    },
  };
};

const options = {
  batch: 2,
  limits: { context: 100, target: 3 },
  layout: { kind: "context-target" },
} as const;

const found = (check: DataCheck): Record<string, readonly number[]> =>
  Object.fromEntries(
    check.findings.map(({ kind, split, rows, isWrong }) => [
      `${isWrong ? "wrong " : ""}${split} ${kind}`,
      rows,
    ]),
  );

test("checkRows finds rows that repeat and contradict each other, inside and between splits", (t) => {
  const check = checkRows(
    {
      train: made(["a>x", "b>x", "a>x", "a>y", ">x"]),
      validation: made(["c>x", "b>z"]),
      test: made(["d>x", "c>x", "e>x"]),
    },
    options,
  );
  t.deepEqual(found(check), {
    "train empty contexts": [4],
    "train repeated": [2],
    "train contradicting": [3],
    "wrong validation in train": [1],
    "test in validation": [1],
  });
  t.true(check.isWrong);
  t.false(check.validationIsTest);
});

test("contexts and targets that run into each other are not the same row", (t) => {
  const check = checkRows({ train: made(["ab>c", "a>bc"]) }, options);
  t.deepEqual(found(check), {});
  t.false(check.isWrong);
});

test("a row without a label is wrong, but not in test; what a limit cuts is from one row in a hundred on", (t) => {
  const rows = Array.from({ length: 200 }, (_, i) => `${String(i)}>x`);
  const withLong = (count: number): readonly string[] =>
    rows.map((row, i) => (i < count ? `${row}long` : row));
  t.deepEqual(found(checkRows({ train: made(withLong(2)) }, options)), {
    "train cut targets": [0, 1],
  });
  const many = checkRows({ train: made(withLong(3)) }, options);
  t.deepEqual(found(many), { "wrong train cut targets": [0, 1, 2] });
  t.is(many.findings[0]?.text, "targets over 3 tokens, cut: they lose their end and EOS");
  const none = checkRows({ train: made(["a>"]), test: made(["b>", "c>long"]) }, options);
  t.deepEqual(found(none), {
    "wrong train unlabelled": [0],
    "test unlabelled": [0],
    "test cut targets": [1],
  });
  t.deepEqual(
    none.findings.filter(({ kind }) => kind === "unlabelled").map(({ text }) => text),
    ["rows without a label: training refuses them", "rows without a target"],
  );
});

test("contexts that are cut are told with what they lose", (t) => {
  const train = made(["abcdef>x", "ab>x"], 4);
  const limits = { context: 4, target: 3 };
  const ours = checkRows({ train }, { ...options, limits });
  t.is(ours.findings[0]?.text, "contexts over 4 tokens, cut at their text's end");
  t.true(ours.isWrong);
  const original = checkRows({ train }, { ...options, limits, cutting: "original" });
  t.is(original.findings[0]?.text, "contexts over 4 tokens, cut: they lose ### Response:");
  const onePiece = checkRows({ train }, { ...options, limits, cutting: "one piece" });
  t.is(onePiece.findings[0]?.text, "contexts over 4 tokens, cut: their rows lose the whole target");
  t.is(onePiece.padding?.fixed, 8, "the context's limit is the whole row's");
});

test("validation rows that are the test rows are told once, and are not wrong by themselves", (t) => {
  const same = made(["b>x", "b>x"]);
  const check = checkRows({ train: made(["a>x"]), validation: same, test: same }, options);
  t.true(check.validationIsTest);
  t.deepEqual(found(check), { "test repeated": [1] });
  t.false(check.isWrong);
  const turned = made(["c>x", "b>x"]);
  t.false(
    checkRows({ train: made(["a>x"]), validation: same, test: turned }, options).validationIsTest,
  );
});

test("checkRows gives lengths and padding, and neither without tokens", (t) => {
  const check = checkRows({ train: made(["aa>x", "bbbb>x", "cc>x", "dddd>x"]) }, options);
  t.deepEqual(check.splits[0]?.lengths?.context.max, 4);
  t.deepEqual(check.padding, {
    batch: 2,
    tokens: 16,
    buckets: 16,
    random: check.padding?.random ?? 0,
    fixed: 412,
  });
  const { encoded: _, ...plain } = made(["a>x", "a>x"]);
  const texts = checkRows({ train: plain }, { batch: 2, layout: options.layout });
  t.deepEqual(texts.splits, [{ split: "train", path: "made-up", rows: 2 }]);
  t.is(texts.padding, undefined);
  t.deepEqual(found(texts), { "train repeated": [1] });
});

test("plain texts have no contexts: whole texts are compared", (t) => {
  const check = checkRows(
    { train: made([">one", ">two"]), validation: made([">two", ">three"]) },
    { batch: 2, layout: { kind: "right-padded" }, isText: true },
  );
  t.deepEqual(found(check), { "wrong validation in train": [0] });
  t.is(check.findings[0]?.text, "texts that train has too");
});
