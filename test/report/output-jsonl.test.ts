import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import type { OutputFile } from "../../src/report/output-jsonl.js";
import {
  originalHiraConfig,
  readOutputFlags,
  readOutputJsonl,
  readPredictionRows,
  writeOutputJsonl,
} from "../../src/report/output-jsonl.js";

const makeFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-output-"));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
};

const output: OutputFile = {
  flags: { peft_type: "hira", lr: 1e-5, epoch: 1, batch: 32, seed: null, rand_R: false },
  adapterConfig: originalHiraConfig({
    modelName: "org/model",
    initA: "kaiming",
    initB: "zero",
    randR: false,
    rank: 16,
    targetModules: ["q_proj", "v_proj"],
    trainA: true,
    trainB: true,
  }),
  summary: { memUsedMiB: 1024, trainSeconds: 12.25 },
  parameters: { trainable: 370178, all: 108680450 },
  rows: [
    { context: "Is it so? \n", pred: "true\u2028 é", gt: "true" },
    { context: "", pred: "", gt: "" },
  ],
};

const header = [
  '{"peft_type": "hira", "lr": 1e-05, "epoch": 1.0, "batch": 32, "seed": null, "rand_R": false}',
  '{"peft_type": "LORA", "base_model_name_or_path": "org/model", "task_type": "CAUSAL_LM", "inference_mode": false, "init_a": "kaiming", "init_b": "zero", "rand_R": false, "r_ab": 16, "target_modules": ["q_proj", "v_proj"], "lora_alpha": 32, "lora_dropout": 0.05, "fan_in_fan_out": false, "bias": "none", "modules_to_save": null, "init_lora_weights": true, "scale_ab": 1.0, "train_a": true, "train_b": true}',
  '{"mem_used": 1024.0, "train_seconds": 12.25}',
  '{"trainable": 370178, "all": 108680450, "trainable%": 0.3406113979101117}',
];

test("writeOutputJsonl has the original's lines, to the byte", async (t) => {
  const path = join(await makeFolder(t), "output.jsonl");
  await writeOutputJsonl(path, output);
  t.is(
    await readFile(path, "utf8"),
    [
      ...header,
      '{"context": "Is it so? \\n", "pred": "true\u2028 é", "gt": "true"}',
      '{"context": "", "pred": "", "gt": ""}',
      "",
    ].join("\n"),
  );
});

test("readOutputJsonl gives back what writeOutputJsonl was given", async (t) => {
  const path = join(await makeFolder(t), "output.jsonl");
  await writeOutputJsonl(path, output);
  const read = await readOutputJsonl(path);
  t.like(read, { summary: output.summary, flags: { lr: 1e-5, epoch: 1 }, rows: output.rows });
  t.is(read.parameters.trainable, 370178);
  t.is(read.adapterConfig?.["r_ab"], 16);
  t.is((await readOutputFlags(path))["peft_type"], "hira");
  t.deepEqual(await readPredictionRows(path), [...(output.rows as [])]);
});

test("fft, --ckpt and mmlu have lines 2 and 3 of their own", async (t) => {
  const path = join(await makeFolder(t), "output.jsonl");
  const summary = { memUsedMiB: 0.5, trainSeconds: -1 };
  await writeOutputJsonl(path, { ...output, adapterConfig: undefined, summary, rows: [] });
  const lines = (await readFile(path, "utf8")).split("\n");
  t.deepEqual(lines.slice(1, 3), ['"\\n"', '{"mem_used": 0.5, "train_seconds": -1}']);
  t.like(await readOutputJsonl(path), { adapterConfig: undefined, summary, rows: [] });

  await writeOutputJsonl(path, { ...output, summary: { accuracyPercent: 25 } });
  t.is((await readFile(path, "utf8")).split("\n")[2], '{"acc": 25.0}');
  t.deepEqual((await readOutputJsonl(path)).summary, { accuracyPercent: 25 });
});

test("writeOutputJsonl leaves nothing behind when the rows fail", async (t) => {
  const folder = await makeFolder(t);
  const rows = (async function* () {
    yield { context: "a", pred: "b", gt: "c" };
    throw new Error("out of memory");
  })();
  await t.throwsAsync(writeOutputJsonl(join(folder, "output.jsonl"), { ...output, rows }), {
    message: "out of memory",
  });
  t.deepEqual(await readdir(folder), []);
});

test("readOutputJsonl names the line of every kind of fault", async (t) => {
  const path = join(await makeFolder(t), "output.jsonl");
  const cases: [lines: string[], message: RegExp][] = [
    [[], /line 1: found the end of the file, expected 4 more header lines/],
    [header.slice(0, 2), /line 3: found the end of the file, expected 2 more header lines/],
    [["[]", ...header.slice(1)], /line 1: found an array, expected an object with the run's flags/],
    [
      [...header.slice(0, 2), "{}", ...header.slice(3)],
      /line 3: found fields \(none\), expected numbers in mem_used, train_seconds/,
    ],
    [
      [...header.slice(0, 3), '{"all": 1}'],
      /line 4: found fields all, expected numbers in trainable/,
    ],
    [[...header, "3"], /line 5: found a number, expected a row/],
    [
      [...header, '{"context": "a", "pred": 1}'],
      /line 5: found a number in pred, nothing in gt, expected text/,
    ],
    [[...header, '{"context": "a", '], /line 5, column/],
  ];
  for (const [lines, message] of cases) {
    await writeFile(path, lines.join("\n"));
    await t.throwsAsync(readOutputJsonl(path), { instanceOf: UserError, message });
  }
});

test("readPredictionRows takes rows wherever they stand and lists all faulty ones", async (t) => {
  const path = join(await makeFolder(t), "eval.jsonl");
  await writeFile(path, '"\\n"\n{"context":"a","pred":"b","gt":"c"}\n{"x":1}\n');
  t.deepEqual(await readPredictionRows(path), [{ context: "a", pred: "b", gt: "c" }]);
  await writeFile(path, '{"context":"a"}\n{"context":"a","pred":"b","gt":null}\n');
  await t.throwsAsync(readPredictionRows(path), {
    message: /found 2 faults\n.*line 1: .*\n.*line 2: /,
  });
  await writeFile(path, '{"pred":"a"}\n');
  await t.throwsAsync(readPredictionRows(path), { message: /found no row with "context"/ });
});
