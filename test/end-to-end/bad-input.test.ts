import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { readSafetensorsHeader, writeSafetensors } from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { hiraProgram } from "../support/start-hira.js";

const row = (ids: readonly number[]) => JSON.stringify({ input_ids: ids, labels: ids });
const ROWS = [row([1, 5, 6, 7]), row([1, 8, 9, 4]), row([1, 3, 5, 2]), row([1, 2, 2, 6])];

interface Setting {
  readonly folder: string;
  readonly rows: string;
  /** Flags of a run that works. */
  readonly flags: readonly string[];
}

const prepare = async (t: ExecutionContext, lines: readonly string[] = ROWS): Promise<Setting> => {
  const folder = await makeTempFolder(t);
  const rows = join(folder, "rows.jsonl");
  await writeFile(rows, lines.join("\n"));
  const flags = [
    ...["--peft_type=hira", `--model=${peftFixture("base")}`, `--dataset=${rows}`, "--r_ab=2"],
    ...["--eval_strategy=no", "--batch=2", "--max_steps=2", `--output_folder=${folder}/runs`],
  ];
  return { folder, rows, flags };
};

/** Runs and expects exit code 2, no run folder, and every pattern in the message. */
const refuses = async (
  t: ExecutionContext,
  { folder }: Setting,
  argv: readonly string[],
  ...patterns: readonly RegExp[]
): Promise<void> => {
  const { code, err } = await runHira(...argv);
  t.is(code, 2, err);
  for (const pattern of patterns) t.regex(err, pattern);
  t.notRegex(err, /\n\s+at /, "a person's mistake has no stack");
  const runs = await readdir(join(folder, "runs")).catch((): string[] => []);
  t.deepEqual(runs, []);
};

test("hira train works on the rows that these tests break", async (t) => {
  const { flags } = await prepare(t);
  const { code, err } = await runHira(...flags);
  t.is(code, 0, err);
});

test("a run that is refused leaves no folder behind", async (t) => {
  const { flags, folder } = await prepare(t);
  const { code } = await runHira(...flags, `--model=${join(folder, "nowhere")}`);
  t.is(code, 2);
  t.deepEqual(await readdir(folder), ["rows.jsonl"]);
});

test("a truncated safetensors file is an error that names the file", async (t) => {
  const setting = await prepare(t);
  const model = join(setting.folder, "model");
  await cp(peftFixture("base"), model, { recursive: true });
  await truncate(join(model, "model.safetensors"), 1000);
  await refuses(t, setting, [...setting.flags, `--model=${model}`], /model\.safetensors/);
});

test("broken JSON is an error that names its line", async (t) => {
  const setting = await prepare(t, [ROWS[0] ?? "", '{"input_ids": [1, 2', ROWS[1] ?? ""]);
  await refuses(t, setting, setting.flags, /rows\.jsonl.*line 2/s);
});

test("an empty data set is an error", async (t) => {
  const setting = await prepare(t, []);
  await refuses(t, setting, setting.flags, /rows\.jsonl/);
});

test("an unknown flag is an error with a suggestion", async (t) => {
  const setting = await prepare(t);
  await refuses(t, setting, [...setting.flags, "--bacth=3"], /--bacth/, /Did you mean.*batch/);
});

test("a rank of 0 and one that fits no layer are errors", async (t) => {
  const setting = await prepare(t);
  await refuses(t, setting, [...setting.flags, "--r_ab=0"], /--r_ab/);
  await refuses(t, setting, [...setting.flags, "--r_ab=5000"], /--r_ab=5000/, /q_proj \[/);
});

test("a target that matches nothing is an error", async (t) => {
  const setting = await prepare(t);
  await refuses(t, setting, [...setting.flags, "--target_modules=q_porj"], /q_porj/, /q_proj/);
});

test("virtual tokens beyond the position range are an error, alone and with the rows behind them", async (t) => {
  const setting = await prepare(t);
  const flags = [...setting.flags, "--peft_type=prompt-tuning"];
  // The model has 64 positions, the rows 4 tokens.
  await refuses(t, setting, [...flags, "--virtual_tokens=64"], /--virtual_tokens=64.*64 positions/);
  const { code, err } = await runHira(...flags, "--virtual_tokens=61");
  t.is(code, 2, err);
  t.regex(err, /--virtual_tokens=61 in front of rows of up to 4 tokens: expected at most .* 64/);
  t.is((await runHira(...flags, "--virtual_tokens=60")).code, 0);
});

test("shares outside [0, 1) are errors: sparsity and dropout", async (t) => {
  const setting = await prepare(t);
  for (const [method, flag] of [
    ["sparse-lora", "--sparsity"],
    ["lora", "--lora_dropout"],
  ] as const)
    for (const value of ["1", "1.5", "-0.1"])
      await refuses(
        t,
        setting,
        [...setting.flags, `--peft_type=${method}`, `${flag}=${value}`],
        new RegExp(`${flag}: found ${value}, expected`),
      );
  await refuses(t, setting, [...setting.flags, "--lora_dropout=0.1"], /with --peft_type=hira/);
  // A Llama has no place where hidden states could be dropped.
  await refuses(t, setting, [...setting.flags, "--model_dropout=0.1"], /drops no hidden states/);
});

test("layers beyond the model, patterns and saved modules that match nothing are errors", async (t) => {
  const setting = await prepare(t);
  const { flags } = setting;
  await refuses(t, setting, [...flags, "--layers=1-3"], /--layers: found 2-3.*which are 0-1/);
  await refuses(t, setting, [...flags, "--layers=3-1"], /--layers: found "3-1"/);
  await refuses(
    t,
    setting,
    [...flags, "--rank_pattern=q_porj=2"],
    /"q_porj"/,
    /Did you mean "q_proj"/,
  );
  await refuses(t, setting, [...flags, "--modules_to_save=lm_haed"], /"lm_haed"/, /"lm_head"/);
});

test("an adapter for another model is an error that lists its shapes", async (t) => {
  const setting = await prepare(t);
  const model = join(setting.folder, "model");
  await cp(peftFixture("base"), model, { recursive: true });
  const adapter = join(setting.folder, "adapter");
  await cp(peftFixture("lora"), adapter, { recursive: true });
  const weights = join(adapter, "adapter_model.safetensors");
  const { entries } = await readSafetensorsHeader(weights);
  await writeSafetensors(
    weights,
    [...entries.values()].map(({ name, shape }) => {
      const wide = shape.map((size) => (size === 8 ? 16 : size));
      const data = new Float32Array(wide.reduce((n, size) => n * size, 1));
      return { name, dtype: "float32" as const, shape: wide, data };
    }),
  );
  const { code, err } = await runHira(
    "forward",
    ...[`--ckpt=${adapter}`, `--model=${model}`, `--input=${setting.rows}`],
    `--out=${setting.folder}/out.safetensors`,
  );
  t.is(code, 2, err);
  t.regex(err, /layers\.1\.self_attn\.q_proj\.lora_A\.weight": found \[2, 16\], expected \[2, 8\]/);
  t.regex(err, /made for "tiny-base"/);
});

test("an output folder that is a file is an error", async (t) => {
  const setting = await prepare(t);
  await refuses(t, setting, [...setting.flags, `--output_folder=${setting.rows}/x`], /rows\.jsonl/);
});

test("a checkpoint folder without its files is an error, and a beam size of 0", async (t) => {
  const setting = await prepare(t);
  const empty = join(setting.folder, "empty");
  await mkdir(empty);
  await refuses(t, setting, [`--ckpt=${empty}`, "--dataset=boolq"], /empty/, /checkpoint/);
  await refuses(t, setting, [`--ckpt=${empty}`, "--dataset=boolq", "--beam_size=0"], /--beam_size/);
});

test("a loss that is not finite stops the run, names step and rows, and keeps the last checkpoint", async (t) => {
  const setting = await prepare(t);
  const init = join(setting.folder, "init.safetensors");
  const name = "model.layers.0.self_attn.q_proj.A";
  const config = JSON.parse(await readFile(join(peftFixture("base"), "config.json"), "utf8")) as {
    hidden_size: number;
  };
  const values = new Float32Array(2 * config.hidden_size).fill(NaN);
  await writeSafetensors(init, [
    { name, dtype: "float32", shape: [2, config.hidden_size], data: values },
  ]);
  const { code, err } = await runHira(...setting.flags, `--adapter_init=${init}`);
  t.is(code, 2, err);
  t.regex(err, /step 1/);
  t.regex(err, /rows \d, \d/);
});

test("SIGINT finishes the step, saves a checkpoint and exits with 130", async (t) => {
  const { folder, flags } = await prepare(t);
  const child = spawn(
    process.execPath,
    ["--import=tsx", hiraProgram, ...flags, "--max_steps=100000", "--log_steps=1"],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let out = "";
  // Once: a second signal means "without saving".
  let sent = false;
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    if (!sent && /step \d+\//.test(out)) sent = child.kill("SIGINT");
  });
  const [code] = (await once(child, "exit")) as [number];
  t.is(code, 130);
  const [run = ""] = await readdir(join(folder, "runs"));
  const names = await readdir(join(folder, "runs", run));
  const checkpoint = names.find((name) => name.startsWith("checkpoint-")) ?? "";
  t.true((await readdir(join(folder, "runs", run, checkpoint))).includes("complete.json"));
});
