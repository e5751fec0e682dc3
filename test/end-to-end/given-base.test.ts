import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { copyAdapter, writeOtherBase } from "../support/other-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

const ids = [1, 5, 9, 3, 7, 2, 11, 4];

/** The lines of commands that open --ckpt, with the files that they need, and a pattern of what they write. */
const commandLines = async (folder: string): Promise<Readonly<Record<string, string[]>>> => {
  const rows = join(folder, "in.jsonl");
  await writeFile(rows, JSON.stringify({ input_ids: ids, labels: ids }));
  return {
    forward: [
      "forward",
      "--overwrite",
      `--input=${rows}`,
      `--out=${join(folder, "out.safetensors")}`,
    ],
    generate: ["generate", "--overwrite", `--input=${rows}`, `--out=${join(folder, "out.jsonl")}`],
    merge: ["merge", `--out=${join(folder, "merged")}`],
    evaluate: ["train", "--dataset=boolq"],
  };
};

const logits = async (t: ExecutionContext, ...flags: readonly string[]): Promise<Float32Array> => {
  const { forward = [] } = await commandLines(await makeTempFolder(t));
  const { code, err } = await runHira(...forward, ...flags);
  t.is(code, 0, err);
  const out = forward.at(-1)?.replace("--out=", "") ?? "";
  const entry = (await readSafetensorsHeader(out)).entries.get("logits");
  return entry ? readTensorAsFloat32(entry) : new Float32Array();
};

/** A run of the tiny base in a folder `w` with its base `w/models/tiny` and its rows, named by paths relative to `w`. */
const trainIn = async (t: ExecutionContext, ...flags: readonly string[]): Promise<string> => {
  const folder = await makeTempFolder(t);
  await mkdir(join(folder, "models"));
  await cp(peftFixture("base"), join(folder, "models", "tiny"), { recursive: true });
  const rows = await writeTinyRows(folder);
  await trainTiny(
    t,
    join(folder, "runs"),
    ...tinyRunFlags(rows),
    "--peft_type=hira",
    `--model=${join(folder, "models", "tiny")}`,
    ...flags,
  );
  return folder;
};

const runOf = async (folder: string): Promise<string> => {
  const [name = ""] = await readdir(join(folder, "runs"));
  return join(folder, "runs", name);
};

test("a given base counts for a peft adapter whose own base is there: forward, merge, generate (9.1)", async (t) => {
  const folder = await makeTempFolder(t);
  const own = peftFixture("base");
  const other = await writeOtherBase(join(folder, "other"));
  const adapter = await copyAdapter(join(folder, "adapter"), { base: own });
  const elsewhere = await copyAdapter(join(folder, "elsewhere"), { base: other });

  const onOwn = await logits(t, `--ckpt=${adapter}`);
  const onOther = await logits(t, `--ckpt=${adapter}`, `--model=${other}`);
  t.true(largestDifference(onOwn, onOther) > 1e-3);
  t.is(largestDifference(onOther, await logits(t, `--ckpt=${elsewhere}`)), 0);

  const { merge = [], generate = [] } = await commandLines(folder);
  const merged = await runHira(...merge, `--ckpt=${adapter}`, `--model=${other}`);
  t.is(merged.code, 0, merged.err);
  const onMerged = await logits(t, `--model=${join(folder, "merged")}`);
  t.true(largestDifference(onMerged, onOther) < 1e-5);

  const generated = async (...flags: readonly string[]): Promise<string> => {
    await rm(join(folder, "out.jsonl"), { force: true });
    const { code, err } = await runHira(...generate, ...flags);
    t.is(code, 0, err);
    return readFile(join(folder, "out.jsonl"), "utf8");
  };
  t.is(
    await generated(`--ckpt=${adapter}`, `--model=${other}`),
    await generated(`--ckpt=${elsewhere}`),
  );
  t.not(await generated(`--ckpt=${adapter}`), await generated(`--ckpt=${elsewhere}`));
});

test("a run's folder and its checkpoints refuse another base, and find theirs anywhere (9.1)", async (t) => {
  const folder = await trainIn(t);
  const run = await runOf(folder);
  const expected = await logits(t, `--ckpt=${run}`);
  const other = await writeOtherBase(join(folder, "other"));
  const moved = join(folder, "moved");
  await cp(join(folder, "models", "tiny"), moved, { recursive: true });
  const best = join(run, "checkpoint-4");
  t.is(largestDifference(await logits(t, `--ckpt=${run}`, `--model=${moved}`), expected), 0);

  const lines = await commandLines(folder);
  // A config.json may be laid out otherwise and name other special tokens; one that computes other numbers is another model's.
  const config = JSON.parse(await readFile(join(moved, "config.json"), "utf8")) as object;
  for (const [change, code] of [
    [{ bos_token_id: 3 }, 0],
    [{ rms_norm_eps: 1e-3 }, 2],
    [{ rope_theta: 5e5, rope_parameters: undefined }, 2],
  ] as const) {
    await writeFile(join(moved, "config.json"), JSON.stringify({ ...config, ...change }, null, 4));
    const { code: found, err } = await runHira(
      ...(lines.forward ?? []),
      ...[`--ckpt=${run}`, `--model=${moved}`],
    );
    t.is(found, code, err);
    if (code === 2) t.regex(err, /--model_name: found .*moved, whose config\.json is another/);
  }
  await rm(join(folder, "out.safetensors"));
  for (const ckpt of [run, best])
    for (const [name, line] of Object.entries(lines)) {
      if (name === "evaluate") continue;
      const { code, err } = await runHira(...line, `--ckpt=${ckpt}`, `--model=${other}`);
      t.is(code, 2, `${name}: ${err}`);
      t.regex(err, /--model_name: found .*other, whose model\.safetensors is another/, name);
    }
  t.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith("out") || name === "merged"),
    [],
  );
  const evaluated = await runHira(...(lines.evaluate ?? []), `--ckpt=${run}`, `--model=${other}`);
  t.is(evaluated.code, 2);
  t.regex(evaluated.err, /--model_name: found .*other/);

  // Nobody has named a base: a model that has taken its place is told as well.
  await rm(join(folder, "models"), { recursive: true });
  await mkdir(join(folder, "models"));
  await writeOtherBase(join(folder, "models", "tiny"));
  const changed = await runHira(...(lines.forward ?? []), `--ckpt=${run}`);
  t.is(changed.code, 2);
  t.regex(changed.err, /base model: found .*tiny, whose model\.safetensors is another/);

  // An adapter of its own, outside of the run, takes any base.
  await cp(best, join(folder, "mine"), { recursive: true });
  await logits(t, `--ckpt=${join(folder, "mine")}`, `--model=${other}`);
});

test("a run's folder refuses another method, rank, target and scale by name, and takes its own (9.1)", async (t) => {
  const folder = await trainIn(t, "--peft_type=lora", "--target_modules=q_proj, v_proj");
  const run = await runOf(folder);
  const { forward = [] } = await commandLines(folder);
  const own = [
    ...["--peft_type=lora", "--r_ab=2", "--target_modules=v_proj,q_proj", "--lora_alpha=8"],
    `--model=${join(folder, "models", "tiny")}`,
  ];
  t.is((await runHira(...forward, `--ckpt=${run}`, ...own)).code, 0);
  const { code, err } = await runHira(
    ...forward,
    `--ckpt=${run}`,
    ...["--peft_type=hira", "--r_ab=8", "--target_modules=q_proj", "--lora_alpha=16"],
  );
  t.is(code, 2);
  t.regex(err, /found 4 faults/);
  t.regex(err, /--peft_type: found "hira", expected "lora"/);
  t.regex(err, /--r_ab: found 8, expected 2/);
  t.regex(err, /--target_modules: found "q_proj", expected "q_proj, v_proj"/);
  t.regex(err, /--lora_alpha: found 16, expected 8/);
  const evaluated = await runHira("--dataset=boolq", `--ckpt=${run}`, "--r_ab=8");
  t.is(evaluated.code, 2);
  t.regex(evaluated.err, /--r_ab: found 8, expected 2/);
});

test("a peft adapter refuses another method, rank and target by name (9.1)", async (t) => {
  const folder = await makeTempFolder(t);
  const { forward = [] } = await commandLines(folder);
  const line = [...forward, `--ckpt=${peftFixture("lora")}`, `--model=${peftFixture("base")}`];
  const { code, err } = await runHira(
    ...[...line, "--peft_type=hira", "--r_ab=7", "--target_modules=gate_proj"],
  );
  t.is(code, 2);
  t.regex(err, /--peft_type: found "hira", expected "lora"/);
  t.regex(err, /--r_ab: found 7, expected 1 or 2/);
  t.regex(err, /--target_modules: found "gate_proj", expected "/);
  t.is((await runHira(...line, "--peft_type=lora", "--r_ab=2")).code, 0);
});

test("a quantized run refuses other bits (9.1)", async (t) => {
  const folder = await trainIn(t, "--peft_type=qlora");
  const run = await runOf(folder);
  const { forward = [], merge = [] } = await commandLines(folder);
  for (const line of [forward, merge]) {
    const { code, err } = await runHira(...line, `--ckpt=${run}`, "--load_bit=16");
    t.is(code, 2);
    t.regex(err, /--load_bit: found 16, expected 4/);
  }
  t.is((await runHira(...forward, `--ckpt=${run}`, "--load_bit=4", "--quant_type=nf4")).code, 0);
});

test("a relative base is looked up beside run or adapter, then in the working folder (9.1)", async (t) => {
  const folder = await makeTempFolder(t);
  const beside = join(folder, "adapters", "base");
  await mkdir(join(folder, "adapters"));
  await writeOtherBase(beside);
  const adapter = await copyAdapter(join(folder, "adapters", "mine"), { base: "base" });
  const expected = await logits(t, `--ckpt=${adapter}`, `--model=${beside}`);
  t.is(largestDifference(await logits(t, `--ckpt=${adapter}`), expected), 0);

  // In the working folder, which is this repository in a test.
  const local = await copyAdapter(join(folder, "local"), { base: "test/fixtures/peft/base" });
  const onBase = await logits(t, `--ckpt=${local}`, `--model=${peftFixture("base")}`);
  t.is(largestDifference(await logits(t, `--ckpt=${local}`), onBase), 0);

  await rm(beside, { recursive: true });
  const { forward = [] } = await commandLines(folder);
  const { code, err } = await runHira(...forward, `--ckpt=${adapter}`);
  t.is(code, 2);
  t.regex(err, /Cannot find the base model of .*mine: found no folder "base" beside it or in /);
});

test("a run that was moved with its base finds it (9.1)", async (t) => {
  const folder = await trainIn(t);
  const run = await runOf(folder);
  // As if it had been started in that folder.
  for (const name of ["run.json", "output.jsonl"]) {
    const text = await readFile(join(run, name), "utf8");
    await writeFile(
      join(run, name),
      text.replaceAll(`"model_name": "${folder}/`, '"model_name": "'),
    );
  }
  const expected = await logits(t, `--ckpt=${run}`);
  const moved = join(await makeTempFolder(t), "moved");
  await rename(folder, moved);
  t.is(largestDifference(await logits(t, `--ckpt=${await runOf(moved)}`), expected), 0);
});

test("full fine-tuning: another base beside the run is refused, and a plain model takes none (9.1)", async (t) => {
  const folder = await trainIn(t, "--peft_type=fft");
  const run = await runOf(folder);
  const other = await writeOtherBase(join(folder, "other"));
  const { forward = [], merge = [] } = await commandLines(folder);
  for (const line of [forward, merge]) {
    const { code, err } = await runHira(...line, `--ckpt=${run}`, `--model=${other}`);
    t.is(code, 2, err);
    t.regex(err, /--model_name: found .*other/);
  }
  const base = join(folder, "models", "tiny");
  t.is((await runHira(...forward, `--ckpt=${run}`, `--model=${base}`)).code, 0);
  const plain = await runHira(...forward, `--ckpt=${base}`, `--model=${other}`);
  t.is(plain.code, 2);
  t.regex(plain.err, /found a plain model/);
  t.is((await runHira(...forward, `--ckpt=${base}`, `--model=${base}/.`)).code, 0);
});

test("nobody who has named no model reads the name of a default (9.1)", async (t) => {
  const folder = await makeTempFolder(t);
  const lines = await commandLines(folder);
  const rows = await writeTinyRows(folder);
  const adapter = await copyAdapter(join(folder, "adapter"), { base: "no/where" });
  const cases: readonly (readonly string[])[] = [
    ["--peft_type=hira", `--dataset=${rows}`, "--eval_strategy=no", `--output_folder=${folder}`],
    ["--dataset_analysis"],
    lines.forward ?? [],
    lines.generate ?? [],
    ...Object.values(lines).map((line) => [...line, `--ckpt=${adapter}`]),
  ];
  for (const line of cases) {
    const { code, out, err } = await runHira(...line);
    t.is(code, 2, err);
    t.notRegex(out + err, /opt-125m/, line.join(" "));
    t.regex(err, /--model|base model/, line.join(" "));
  }
});
