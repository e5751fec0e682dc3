import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, cp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { elementCount } from "../../src/core/dtype.js";
import { readSafetensorsHeader, readTensorData } from "../../src/models/weights/safetensors.js";
import { defaultPruning } from "../../src/peft/sparse-lora.js";
import { sparsityAt, zeroCount } from "../../src/train/sparsity.js";
import { copyAsKilled, prepareRuns, resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { hiraProgram } from "../support/start-hira.js";

const succeed = async (t: ExecutionContext, ...argv: readonly string[]): Promise<string> => {
  const { code, out, err } = await runHira(...argv);
  t.is(code, 0, err);
  return runFolderIn(out);
};

/** Starts `hira` as a process, and sends it a signal when its metrics.jsonl has `rows` rows. @returns exit code, run folder */
const stopAt = async (
  argv: readonly string[],
  rows: number,
  signal: "SIGKILL" | "SIGINT" | "SIGTERM",
): Promise<{ readonly code: number | null; readonly runFolder: string; readonly out: string }> => {
  const child = spawn(process.execPath, ["--import=tsx", hiraProgram, ...argv], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  const exit = once(child, "exit");
  let sent = false;
  const timer = setInterval(() => {
    const path = join(runFolderIn(out), "metrics.jsonl");
    readFile(path, "utf8").then(
      (text) => {
        // A second signal would end the process without saving.
        if (sent || text.split("\n").length <= rows) return;
        sent = child.kill(signal);
      },
      () => undefined,
    );
  }, 2);
  const [code] = (await exit) as [number | null];
  clearInterval(timer);
  return { code, runFolder: runFolderIn(out), out };
};

const TOTAL = 70;
const long = ["--peft_type=hira", "--r_ab=2", "--eval_strategy=steps", "--eval_steps=7"].concat(
  `--max_steps=${String(TOTAL)}`,
  "--log_steps=1000",
);

for (const [rows, limit] of [
  [9, 1],
  [45, 2],
] as const)
  test.serial(
    `a run killed after ${String(rows)} steps goes on to the same bits, --save_total_limit=${String(limit)}`,
    async (t) => {
      const { flags } = await prepareRuns(t);
      const argv = [...flags, ...long, `--save_total_limit=${String(limit)}`];
      const whole = await succeed(t, ...argv);
      const killed = await stopAt(argv, rows, "SIGKILL");
      t.is(killed.code, null);
      t.not(killed.runFolder, whole);
      const { code, out, err } = await runHira(...argv, "--resume_from_checkpoint");
      t.is(code, 0, err);
      t.is(runFolderIn(out), killed.runFolder);
      t.regex(out, /Going on from .*checkpoint-\d+/);
      t.deepEqual(await resultsOf(killed.runFolder), await resultsOf(whole));
    },
  );

test.serial("a run stopped by SIGINT and then by SIGTERM goes on to the same bits", async (t) => {
  const { flags } = await prepareRuns(t);
  const argv = [...flags, ...long, "--save_total_limit=3"];
  const whole = await succeed(t, ...argv);
  const first = await stopAt(argv, 20, "SIGINT");
  t.is(first.code, 130);
  // What it prints is all that has to be typed.
  const again = / to go on: hira train (.*)/.exec(first.out)?.[1]?.split(" ") ?? [];
  const second = await stopAt(again, 40, "SIGTERM");
  t.is(second.code, 143);
  t.is(second.runFolder, first.runFolder);
  t.is(await succeed(t, ...again), first.runFolder);
  t.deepEqual(await resultsOf(first.runFolder), await resultsOf(whole));
  const record = JSON.parse(await readFile(join(first.runFolder, "run.json"), "utf8")) as {
    readonly resumed: readonly { readonly step: number }[];
  };
  t.is(record.resumed.length, 2);
  t.true(record.resumed.every(({ step }) => step > 0 && step < TOTAL));
});

const low = ["--r_ab=2", "--target_modules=q_proj,down_proj"];
/** Every method, and the settings that keep more than weights and moments. */
const cases: Readonly<Record<string, readonly string[]>> = {
  "hira with --rand_R": ["--peft_type=hira", "--rand_R", ...low],
  "hira with a frozen half": [
    "--peft_type=hira",
    "--train_ab=yn",
    "--init_ab=zero,kaiming",
    ...low,
  ],
  lora: ["--peft_type=lora", ...low],
  rslora: ["--peft_type=rslora", ...low],
  dora: ["--peft_type=dora", ...low],
  mora: ["--peft_type=mora", ...low],
  hilora: ["--peft_type=hilora", ...low],
  "sparse-lora": ["--peft_type=sparse-lora", "--sparse_start=2", "--sparse_end=9", ...low],
  "sparse-lora by rows": [
    ...["--peft_type=sparse-lora", "--sparse_method=topk", "--sparse_start=3", "--sparse_end=7"],
    ...low,
  ],
  "sparse-lora with l1": [
    ...["--peft_type=sparse-lora", "--sparse_method=l1", "--sparse_schedule=oneshot"],
    ...["--sparse_start=3", ...low],
  ],
  prefix: ["--peft_type=prefix", "--virtual_tokens=3"],
  "prefix with a projection": ["--peft_type=prefix", "--virtual_tokens=3", "--prefix_projection"],
  "p-tuning": ["--peft_type=p-tuning", "--virtual_tokens=3"],
  "p-tuning with an LSTM": [
    ...["--peft_type=p-tuning", "--virtual_tokens=3", "--encoder_hidden_size=4"],
    "--encoder_reparameterization_type=LSTM",
  ],
  "prompt-tuning": ["--peft_type=prompt-tuning", "--virtual_tokens=3"],
  fft: ["--peft_type=fft"],
  "dropout, under accumulation": ["--peft_type=lora", "--lora_dropout=0.3", "--grad_acc=2", ...low],
  "layers, ranks and saved modules": [
    ...["--peft_type=sparse-lora", "--layers=1", "--rank_pattern=q_proj=3", ...low],
    ...["--modules_to_save=lm_head,embed_tokens,norm", "--sparse_start=2", "--sparse_end=9"],
  ],
  "fft in shards": ["--peft_type=fft", "--max_shard_size=2KB"],
  accumulation: ["--peft_type=hira", "--grad_acc=2", ...low],
  "compat reference": ["--peft_type=hira", "--compat=reference", ...low],
};

for (const [name, own] of Object.entries(cases))
  test(`a resumed run has the bits of an uninterrupted one: ${name}`, async (t) => {
    const { folder, flags } = await prepareRuns(t);
    const argv = [...flags, ...own, "--eval_strategy=steps", "--eval_steps=4", "--max_steps=11"];
    const whole = await succeed(t, ...argv, "--save_total_limit=0");
    const killed = await copyAsKilled(whole, join(folder, "killed"), 4);
    await succeed(t, ...argv, "--save_total_limit=0", `--resume_from_checkpoint=${killed}`);
    t.deepEqual(await resultsOf(killed), await resultsOf(whole));
  });

test("a resumed run has the bits of an uninterrupted one: OPT's own dropout, of attention too", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const model = join(folder, "opt");
  await cp(
    fileURLToPath(new URL("../fixtures/models/families/opt/model", import.meta.url)),
    model,
    {
      recursive: true,
    },
  );
  const config = JSON.parse(await readFile(join(model, "config.json"), "utf8")) as object;
  await writeFile(
    join(model, "config.json"),
    JSON.stringify({ ...config, dropout: 0.1, attention_dropout: 0.1 }),
  );
  const argv = [
    ...[...flags, `--model=${model}`, "--peft_type=hira", "--r_ab=2", "--target_modules=q_proj"],
    ...["--grad_acc=2", "--eval_strategy=steps", "--eval_steps=4", "--max_steps=7"],
    "--save_total_limit=0",
  ];
  const whole = await succeed(t, ...argv);
  const killed = await copyAsKilled(whole, join(folder, "killed"), 4);
  await succeed(t, ...argv, `--resume_from_checkpoint=${killed}`);
  t.deepEqual(await resultsOf(killed), await resultsOf(whole));
});

test("a resumed run of Sparse LoRA has its exact count of zeros in every matrix, and keeps its masks", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const argv = [
    ...[...flags, "--peft_type=sparse-lora", "--sparsity=0.6", "--sparse_start=2", ...low],
    ...["--sparse_end=9", "--eval_strategy=steps", "--eval_steps=3", "--max_steps=9"],
    "--save_total_limit=0",
  ];
  const whole = await succeed(t, ...argv);
  const killed = await copyAsKilled(whole, join(folder, "killed"), 3);
  await succeed(t, ...argv, `--resume_from_checkpoint=${killed}`);
  const schedule = { ...defaultPruning, sparsity: 0.6, startStep: 2, endStep: 9 };
  for (const step of [3, 6, 9]) {
    const checkpoint = join(killed, `checkpoint-${String(step)}`);
    const weights = await readSafetensorsHeader(join(checkpoint, "adapter_model.safetensors"));
    const masks = await readSafetensorsHeader(join(checkpoint, "sparse_masks.safetensors"));
    t.is(masks.entries.size, weights.entries.size);
    for (const entries of [weights.entries, masks.entries])
      for (const [name, entry] of entries) {
        const zeros = (await readTensorData(entry)).filter((x) => x === 0).length;
        const size = elementCount(entry.shape);
        t.is(zeros, zeroCount(sparsityAt(schedule, step, 9), size), `${name} at ${String(step)}`);
      }
  }
});

test("a run with --eval_strategy=epoch and early stopping goes on to the same bits", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const argv = [...flags, "--peft_type=hira", "--r_ab=2", "--epoch=9", "--lr=0.5"].concat(
    "--early_stop_patience=2",
    "--save_total_limit=0",
  );
  const whole = await succeed(t, ...argv);
  const saved = (await readdir(whole)).flatMap(
    (name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [],
  );
  const steps = saved.map(Number).sort((a, b) => a - b);
  t.true(steps.length > 2 && steps.length < 9, steps.join(", "));
  // The last one is where it stopped early: nothing is left to train then.
  for (const step of steps) {
    const killed = await copyAsKilled(whole, join(folder, `killed-${String(step)}`), step);
    await succeed(t, ...argv, `--resume_from_checkpoint=${killed}`);
    t.deepEqual(await resultsOf(killed), await resultsOf(whole));
  }
});

test("a run with --eval_strategy=no goes on to the same bits", async (t) => {
  const { flags } = await prepareRuns(t);
  const argv = [
    ...flags.filter((flag) => !flag.startsWith("--validation")),
    ...long,
    "--eval_strategy=no",
    "--max_steps=300",
  ];
  const whole = await succeed(t, ...argv);
  const { runFolder } = await stopAt(argv, 20, "SIGINT");
  t.false((await readdir(runFolder)).includes("output.jsonl"));
  await succeed(t, ...argv, `--resume_from_checkpoint=${runFolder}`);
  t.deepEqual(await resultsOf(runFolder), await resultsOf(whole));
});

const short = ["--peft_type=hira", "--r_ab=2", "--eval_strategy=steps", "--eval_steps=2"].concat(
  "--max_steps=8",
  "--save_total_limit=0",
);

test("a checkpoint inside the run may be named; later ones are removed, and written again", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const whole = await succeed(t, ...flags, ...short);
  const copy = await copyAsKilled(whole, join(folder, "copy"), 8);
  const { code, out, err } = await runHira(
    ...[...flags, ...short, `--resume_from_checkpoint=${join(copy, "checkpoint-4")}`],
  );
  t.is(code, 0, err);
  t.regex(out, /Removed checkpoint-6, which comes after checkpoint-4/);
  t.deepEqual(await resultsOf(copy), await resultsOf(whole));
});

test("broken checkpoints are passed over with a line, and torn records are cut", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const whole = await succeed(t, ...flags, ...short);
  const copy = await copyAsKilled(whole, join(folder, "copy"), 8);
  const adapter = join(copy, "checkpoint-8", "adapter_model.safetensors");
  const bytes = await readFile(adapter);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(adapter, bytes);
  await rm(join(copy, "checkpoint-6", "complete.json"));
  await appendFile(join(copy, "metrics.jsonl"), '{"step": 9, "lo');
  const board = (await readdir(join(copy, "runs"), { recursive: true })).find((name) =>
    name.includes("events."),
  );
  const path = join(copy, "runs", board ?? "");
  await truncate(path, (await readFile(path)).length - 3);
  const { code, out, err } = await runHira(
    ...[...flags, ...short, `--resume_from_checkpoint=${copy}`],
  );
  t.is(code, 0, err);
  t.regex(err, /checkpoint-8 is passed over: adapter_model.safetensors: found other content/);
  t.regex(err, /checkpoint-6 is passed over: complete.json: missing/);
  t.regex(out, /Going on from .*checkpoint-4/);
  t.deepEqual(await resultsOf(copy), await resultsOf(whole));
});

test("flags and files that would change the numbers are one error that lists all", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const whole = await succeed(t, ...flags, ...short);
  const copy = await copyAsKilled(whole, join(folder, "copy"), 4);
  const before = await readFile(join(copy, "metrics.jsonl"), "utf8");
  const resume = `--resume_from_checkpoint=${copy}`;
  await appendFile(join(folder, "rows.jsonl"), '\n{"input_ids": [3, 4], "labels": [3, 4]}');
  const { code, err } = await runHira(
    ...flags,
    ...short,
    resume,
    "--lr=1",
    "--batch=3",
    "--seed=4",
  );
  t.is(code, 2);
  t.regex(err, /--lr: found 1, expected 0\.01/);
  t.regex(err, /--batch: found 3, expected 4/);
  t.regex(err, /--seed: found 4, expected 3/);
  t.regex(err, /rows\.jsonl: found other rows/);
  t.notRegex(err, /validation|--output_folder|\n\s+at /);
  t.is(await readFile(join(copy, "metrics.jsonl"), "utf8"), before);
  t.false((await readdir(copy)).includes(".running.json"));
});

test("files may have moved, and flags that change no number may differ", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const whole = await succeed(t, ...flags, ...short);
  const copy = await copyAsKilled(whole, join(folder, "copy"), 4);
  const moved = join(folder, "moved.jsonl");
  await writeFile(moved, await readFile(join(folder, "rows.jsonl")));
  await rm(join(folder, "rows.jsonl"));
  const { code, out, err } = await runHira(
    ...[...flags, ...short, `--dataset=${moved}`, "--log_steps=3", "--num_workers=1"],
    ...["--output_folder=elsewhere", `--resume_from_checkpoint=${copy}`],
  );
  t.is(code, 0, err);
  t.is(runFolderIn(out), copy);
  // Line 1 of output.jsonl has the flags of the last command line.
  const [found, expected] = [await resultsOf(copy), await resultsOf(whole)];
  t.deepEqual({ ...found, output: [] }, { ...expected, output: [] });
});

test("what cannot go on is an error that says why", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const refused = async (pattern: RegExp, ...more: readonly string[]) => {
    const { code, err } = await runHira(...flags, ...short, ...more);
    t.is(code, 2, err);
    t.regex(err, pattern);
  };
  await refused(
    /found none of these flags, expected one that was stopped/,
    "--resume_from_checkpoint",
  );
  const whole = await succeed(t, ...flags, ...short);
  await refused(/which ended, expected one that was stopped/, "--resume=latest");
  await refused(/found output\.jsonl, with which a run ends/, `--resume=${whole}`);
  await refused(/found --ckpt beside it/, `--resume=${whole}`, `--ckpt=${whole}`);
  const copy = await copyAsKilled(whole, join(folder, "copy"), 4);
  await refused(
    /checkpoint-99: found no such folder, expected a run's folder, one of its checkpoints/,
    `--resume=${copy}/checkpoint-99`,
  );
  const lock = JSON.stringify({ host: hostname(), pid: process.ppid });
  await writeFile(join(copy, ".running.json"), lock);
  await refused(/found process \d+ still at work on it/, `--resume=${copy}`);
  await rm(join(copy, ".running.json"));
  for (const step of [2, 4])
    await rm(join(copy, `checkpoint-${String(step)}`), { recursive: true });
  await refused(/found no checkpoint, expected a whole checkpoint/, `--resume=${copy}`);
});
