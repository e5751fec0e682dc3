import test from "ava";
import { comparisonCsv, comparisonJson } from "../../src/cli/compare-data.js";
import { comparedRows } from "../../src/cli/compare-rows.js";
import { comparisonMarkdown, formatComparison } from "../../src/cli/compare-table.js";
import type { RunSummary } from "../../src/runs/compare-runs.js";
import { comparisonWarnings, spreadOf } from "../../src/runs/compared-rows.js";

/** A run with such flags; its loss is 1 + seed / 100. */
const run = (
  flags: Readonly<Record<string, unknown>>,
  changes: Partial<RunSummary> = {},
): RunSummary => {
  const seed = Number(flags.seed ?? 42);
  const name = `model-boolq-${String(flags.peft_type)}-seed=${String(seed)}--2026-01-09-10-11-12`;
  return {
    folder: `/runs/${name}`,
    name,
    method: String(flags.peft_type),
    finished: true,
    parameters: { trainable: 1000, all: 100_000 },
    best: { step: 4, loss: 1 + seed / 100 },
    accuracy: undefined,
    figures: [],
    otherAnswers: [],
    steps: 4,
    medianStepMs: 100 + seed,
    tokensPerSecond: 50,
    peakMemoryBytes: 2 ** 28,
    adapterBytes: 2 ** 20,
    conditions: { model: "M 1234", data: "rows 5678", seed: String(seed), batch: "32 x 1" },
    flags,
    sweep: undefined,
    ...changes,
  };
};

const namesOf = (runs: readonly RunSummary[]): readonly string[] =>
  comparedRows(runs).map(({ name }) => name);

const plain = (_style: string, text: string): string => text;

test("runs that differ in seed alone are one row, with mean and standard deviation (9.34)", (t) => {
  const seeds = [36, 37, 39];
  const runs = ["hira", "lora"].flatMap((peft_type) =>
    seeds.map((seed) => run({ peft_type, seed, r_ab: 8, output_folder: String(seed) })),
  );
  const rows = comparedRows(runs);
  t.deepEqual(
    rows.map((row) => [row.name, row.runs.length]),
    [
      ["peft_type=hira", 3],
      ["peft_type=lora", 3],
    ],
  );
  t.deepEqual(comparisonWarnings(rows), []);
  const lines = formatComparison(rows, { perSet: false, columns: 80, paint: plain });
  // Mean 1.37333 and, over n - 1, 0.01528.
  t.regex(lines.join("\n"), /\n1 {2}peft_type=hira +8 +3 +1,000 +1\.000 +1\.3733 ± 0\.0153 /);
  t.true(lines.every(({ length }) => length <= 80));
  for (const { name } of runs) t.true(lines.some((line) => line.includes(name)));

  const json = JSON.parse(comparisonJson(rows)) as {
    readonly rows: readonly {
      readonly seeds: readonly string[];
      readonly figures: Readonly<Record<string, { readonly mean: number; readonly sd: number }>>;
    }[];
    readonly runs: readonly { readonly row: number; readonly eval_loss: number }[];
  };
  t.deepEqual(json.rows[0]?.seeds, ["36", "37", "39"]);
  const { mean = NaN, sd = NaN } = json.rows[0]?.figures.eval_loss ?? {};
  t.true(Math.abs(mean - 4.12 / 3) < 1e-12 && Math.abs(sd - Math.sqrt(0.00046667 / 2)) < 1e-6);
  t.deepEqual(
    json.runs.map(({ row, eval_loss: loss }) => [row, loss.toFixed(2)]),
    [1, 2].flatMap((row) => [
      [row, "1.36"],
      [row, "1.37"],
      [row, "1.39"],
    ]),
  );
  const csv = comparisonCsv(rows).split("\r\n");
  t.is(csv.length, 1 + 2 * 4 + 1);
  t.regex(csv[0] ?? "", /^row,name,n,seed,method,rank,finished,folder,trainable,trainable_sd,/);
  t.regex(csv[1] ?? "", /^1,peft_type=hira,3,36 37 39,hira,8,true,,1000,0,/);
  t.regex(csv[3] ?? "", /^1,peft_type=hira,1,37,hira,8,true,\/runs\/\S+,1000,,1,,1\.37,,/);
  t.regex(comparisonMarkdown(rows, { perSet: false }), /\| 1 \| peft_type=hira \| 8 \| 3 \|/);
});

test("unfinished runs, repeated seeds and other answers stay rows of their own (9.34)", (t) => {
  const flags = { peft_type: "lora", r_ab: 8 };
  const rows = comparedRows([
    run({ ...flags, seed: 1 }),
    run({ ...flags, seed: 2 }),
    run({ ...flags, seed: 2 }),
    run({ ...flags, seed: 3 }, { finished: false }),
  ]);
  t.deepEqual(
    rows.map(({ name, runs }) => [name, runs.length]),
    [
      ["lora", 2],
      ["seed=2", 1],
      ["seed=3", 1],
    ],
  );
  t.regex(comparisonWarnings(rows).join("\n"), /not finished \(no output\.jsonl\): 3;/);
});

test("a row's name is what differs, of that which its run reads (9.34)", (t) => {
  const base = { r_ab: 8, lr: 1e-3, target_modules: "q_proj" };
  t.deepEqual(namesOf([run({ ...base, peft_type: "hira" })]), ["hira"]);
  t.deepEqual(
    namesOf([
      run({ ...base, peft_type: "hira", lora_alpha: 16 }),
      run({ ...base, peft_type: "lora", lr: 3e-4, rand_R: false }),
      run({ ...base, peft_type: "hira", rand_R: true, exp_name: "try" }),
    ]),
    [
      "peft_type=hira,lr=0.001",
      "peft_type=lora,lr=0.0003",
      "peft_type=hira,lr=0.001,rand_R,exp_name=try",
    ],
  );
  // Two models of one name go by the hash of their files, one model in two places is one.
  const conditions = (model: string): Partial<RunSummary> => ({
    conditions: { ...run({}).conditions, model },
  });
  t.deepEqual(
    namesOf([
      run({ ...base, peft_type: "lora", model_name: "a/M" }, conditions("M 1234")),
      run({ ...base, peft_type: "lora", model_name: "b/M" }, conditions("M 5678")),
      run({ ...base, peft_type: "lora", model_name: "c/M", lr: 1 }, conditions("M 1234")),
    ]),
    ["lr=0.001,model_name=M 1234", "lr=0.001,model_name=M 5678", "lr=1,model_name=M 1234"],
  );
});

test("a sweep's runs go by its own names, without the seed where a row has several (9.34)", (t) => {
  const cell = (name: string, folder = "/sweep") => ({ sweep: { folder, name } });
  const runs = [
    run({ peft_type: "lora", seed: 1 }, cell("peft_type=lora,seed=1,layers=0-3")),
    run({ peft_type: "lora", seed: 2 }, cell("peft_type=lora,seed=2,layers=0-3")),
    run({ peft_type: "hira", seed: 1 }, cell("peft_type=hira,seed=1")),
  ];
  t.deepEqual(namesOf(runs), ["peft_type=lora,layers=0-3", "peft_type=hira,seed=1"]);
  const other = run({ peft_type: "fft", seed: 1 }, cell("peft_type=fft,seed=1", "/elsewhere"));
  t.deepEqual(namesOf([...runs, other]), [
    "peft_type=lora",
    "peft_type=hira,seed=1",
    "peft_type=fft,seed=1",
  ]);
});

test("the table fits any width, and its names and folders stay whole below it (9.34)", (t) => {
  const long = "q_proj,k_proj,v_proj,o_proj,up_proj,gate_proj,down_proj";
  const runs = [
    run({ peft_type: "hilora", r_ab: 16, r_lora: 8, target_modules: long }),
    run({ peft_type: "fft", lr: 1e-5 }, { accuracy: undefined }),
    run({ peft_type: "lora", r_ab: 4, rank_pattern: "q_proj=8", target_modules: long }),
  ];
  const rows = comparedRows(runs);
  for (const columns of [40, 80, 100, 200]) {
    const lines = formatComparison(rows, { perSet: true, columns, paint: plain });
    t.true(Math.max(...lines.map(({ length }) => length)) <= columns, lines.join("\n"));
    const joined = lines.join("").replaceAll(/ +/g, "");
    for (const { name } of [...rows, ...runs])
      t.true(joined.includes(name.replaceAll(" ", "")), name);
  }
  const wide = formatComparison(rows, { perSet: false, columns: 200, paint: plain });
  // One table where the terminal has room; the rank is always told.
  t.is(wide.filter((line) => line.startsWith("#")).length, 1);
  t.regex(wide.join("\n"), /\n1 .* 16\/8 .*\n2 .* - .*\n3 .* 4\+ /);
});

test("spreadOf is the sample's, of the values that are there", (t) => {
  t.is(spreadOf([undefined]), undefined);
  t.deepEqual(spreadOf([2, undefined]), { mean: 2, deviation: undefined, n: 1 });
  t.deepEqual(spreadOf([0.1, 0.1, 0.1]), { mean: 0.1, deviation: 0, n: 3 });
  t.deepEqual(spreadOf([1, 3]), { mean: 2, deviation: Math.SQRT2, n: 2 });
});

test("runs on other sets have the main figures of their scorers as columns, named with the sets where these are several", (t) => {
  const figure = (key: string, value: number) => ({
    ...{ key, title: key, value },
    interval: { low: value - 1, high: value + 1 },
  });
  const summaries = { set: "samsum", figures: [figure("rouge1", 30), figure("rougel", 20.5)] };
  const one = comparedRows([run({ peft_type: "hira" }, { figures: [summaries] })]);
  const [heading = "", line = ""] = comparisonMarkdown(one, { perSet: false }).split("\n");
  t.regex(heading, /val\. loss \| rouge1 \| rougel \| step/);
  t.notRegex(heading, /accuracy/);
  t.regex(comparisonMarkdown(one, { perSet: false }), /\| 30\.00 \| 20\.50 \|/, line);
  const letters = { set: "mmlu", figures: [figure("acc", 25)] };
  const two = comparedRows([
    run({ peft_type: "hira" }, { figures: [summaries] }),
    run({ peft_type: "lora" }, { figures: [letters] }),
  ]);
  t.regex(comparisonCsv(two).split("\r\n")[0] ?? "", /samsum_rouge1,samsum_rouge1_sd.*,mmlu_acc,/);
  t.regex(comparisonMarkdown(two, { perSet: false }), /samsum rougel \| mmlu acc \|/);
  const { runs } = JSON.parse(comparisonJson(one)) as { runs: readonly { figures: object }[] };
  t.deepEqual(runs[0]?.figures, {
    samsum: {
      rouge1: { value: 30, interval: { low: 29, high: 31 } },
      rougel: { value: 20.5, interval: { low: 19.5, high: 21.5 } },
    },
  });
});
