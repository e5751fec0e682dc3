import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { trainTiny } from "../support/tiny-runs.js";

const base = `--model=${peftFixture("base")}`;

/** Four rows of one length, which are one batch. */
const writeRows = async (folder: string, first: number): Promise<string> => {
  const path = join(folder, `rows-${String(first)}.jsonl`);
  const rows = Array.from({ length: 4 }, (_, row) => {
    const ids = Array.from({ length: 8 }, (_, i) => (first + 5 * row + 3 * i) % 16);
    return JSON.stringify({ input_ids: ids, labels: ids });
  });
  await writeFile(path, `${rows.join("\n")}\n`);
  return path;
};

const flagsOf = (rows: string): readonly string[] => [
  ...[`--dataset=${rows}`, "--eval_strategy=no", "--batch=4", "--warmup=0", "--lr=1e-2"],
];

interface RunJson {
  readonly flags: Readonly<Record<string, unknown>>;
}
const runJson = async (run: string): Promise<RunJson> =>
  JSON.parse(await readFile(join(run, "run.json"), "utf8")) as RunJson;

const lossesOf = async (run: string): Promise<readonly number[]> =>
  (await readFile(join(run, "metrics.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { readonly loss: number }).loss);

/** The loss of what was trained on all rows. */
const lossOf = async (
  t: ExecutionContext,
  rows: string,
  ...flags: readonly string[]
): Promise<number> => {
  const out = join(await makeTempFolder(t), "out.safetensors");
  const { code, err } = await runHira("forward", `--input=${rows}`, `--out=${out}`, ...flags);
  t.is(code, 0, err);
  const entry = (await readSafetensorsHeader(out)).entries.get("loss");
  return entry ? ((await readTensorAsFloat32(entry))[0] ?? NaN) : NaN;
};

for (const [name, ...flags] of [
  ["hira", "--peft_type=hira", "--r_ab=2", "--target_modules=q_proj,down_proj"],
  [
    ...["lora", "--peft_type=lora", "--r_ab=2", "--lora_alpha=6", "--rank_pattern=q_proj=3"],
    ...["--target_modules=q_proj,v_proj", "--layers=0", "--modules_to_save=norm"],
  ],
] as const)
  test(`--adapter goes on with what a run has learned, on other rows: ${name}`, async (t) => {
    const root = await makeTempFolder(t);
    const [rows, others] = [await writeRows(root, 1), await writeRows(root, 2)];
    const start = ["--max_steps=3", base, ...flags];
    const first = await trainTiny(t, join(root, "first"), ...flagsOf(rows), ...start);
    const more = [...flagsOf(others), "--max_steps=4", `--adapter=${first}`];
    const second = await trainTiny(t, join(root, "second"), ...more);
    const losses = await lossesOf(second);
    const before = await lossOf(t, others, `--ckpt=${first}`);
    t.true(Math.abs((losses[0] ?? NaN) - before) < 1e-6, `${String(losses[0])}, ${String(before)}`);
    t.true((await lossOf(t, others, `--ckpt=${second}`)) < before);
    const [ofFirst, ofSecond] = [await runJson(first), await runJson(second)];
    const names = ["peft_type", "r_ab", "lora_alpha", "target_modules", "layers", "rank_pattern"];
    for (const flag of names) t.is(ofSecond.flags[flag], ofFirst.flags[flag], flag);
    t.is(ofSecond.flags.adapter, first);

    // The record does the same run again, and what has stopped goes on without what it began with.
    const config = `--config=${join(second, "config.yaml")}`;
    const again = await trainTiny(t, join(root, "again"), config);
    t.deepEqual(await lossesOf(again), losses);
    await rm(join(again, "output.jsonl"));
    await rm(first, { recursive: true });
    const resumed = await runHira(config, `--output_folder=${root}`, `--resume=${again}`);
    t.is(resumed.code, 0, resumed.err);
    t.regex(resumed.out, /Going on from .*checkpoint-4/);
  });

test("--adapter takes peft's folders with the ranks, scales and layers that their files say", async (t) => {
  const root = await makeTempFolder(t);
  const rows = await writeRows(root, 3);
  for (const name of ["lora-layers", "dora-rslora", "rslora", "hira-saved", "lora-embedding"]) {
    const folder = peftFixture(name);
    // What a layer drops in training is the adapter's own, unless a flag says it.
    const flags = [...flagsOf(rows), base, `--adapter=${folder}`, "--lora_dropout=0"];
    const run = await trainTiny(t, join(root, name), ...flags, "--max_steps=1");
    const before = await lossOf(t, rows, base, `--ckpt=${folder}`);
    const [loss = NaN] = await lossesOf(run);
    t.true(Math.abs(loss - before) < 1e-6, `${name}: ${String(loss)}, ${String(before)}`);
    const [checkpoint = ""] = (await readdir(run)).filter((entry) => entry.startsWith("check"));
    const configOf = async (path: string) =>
      JSON.parse(await readFile(join(path, "adapter_config.json"), "utf8")) as {
        readonly peft_type: string;
        readonly use_dora?: boolean;
        readonly use_rslora?: boolean;
      };
    const [given, made] = [await configOf(folder), await configOf(join(run, checkpoint))];
    for (const field of ["peft_type", "use_dora", "use_rslora"] as const)
      t.is(made[field] ?? false, given[field] ?? false, `${name}: ${field}`);
  }
});

test("--adapter is refused by name where flags, base or kind contradict it", async (t) => {
  const root = await makeTempFolder(t);
  const rows = await writeRows(root, 1);
  const attempt = async (pattern: RegExp, ...flags: readonly string[]): Promise<void> => {
    const out = `--output_folder=${join(root, "runs")}`;
    const { code, err } = await runHira(...flagsOf(rows), "--max_steps=1", out, ...flags);
    t.is(code, 2, flags.join(" "));
    t.regex(err, pattern, flags.join(" "));
    t.deepEqual(await readdir(join(root, "runs")).catch(() => []), []);
  };
  const lora = `--adapter=${peftFixture("lora")}`;
  await attempt(/--peft_type: found "hira", expected "lora"/, base, lora, "--peft_type=hira");
  await attempt(/--r_ab: found 5, expected \d/, base, lora, "--r_ab=5");
  await attempt(/--layers: found "0", expected none/, base, lora, "--layers=0");
  await attempt(/--adapter_init/, base, lora, "--adapter_init=x.safetensors");
  await attempt(
    /Cannot use --lora_dropout=0.5 with --peft_type=hira/,
    ...[base, `--adapter=${peftFixture("hira")}`, "--lora_dropout=0.5"],
  );
  await attempt(
    /found virtual tokens \(prefix\), expected an adapter of layers/,
    ...[base, `--adapter=${peftFixture("prefix")}`],
  );
  await attempt(
    /found a plain model, expected an adapter/,
    base,
    `--adapter=${peftFixture("base")}`,
  );
  await attempt(/--peft_type: found nothing/, base);

  const run = await trainTiny(
    ...[t, join(root, "first"), ...flagsOf(rows), base, "--peft_type=hira", "--r_ab=2"],
    "--max_steps=1",
  );
  const other = join(root, "other");
  await cp(peftFixture("base"), other, { recursive: true });
  const weights = await readFile(join(other, "model.safetensors"));
  weights.writeFloatLE(0.25, weights.length - 4);
  await writeFile(join(other, "model.safetensors"), weights);
  await attempt(/model.safetensors is another/, `--model=${other}`, `--adapter=${run}`);
  await attempt(/--r_ab: found 3, expected 2/, `--adapter=${run}`, "--r_ab=3");
});

test("--resume_from_checkpoint with more --max_steps makes a run longer that has ended: 10 and 10 updates", async (t) => {
  const root = await makeTempFolder(t);
  const rows = await writeRows(root, 4);
  const flags = [...flagsOf(rows), base, "--peft_type=hira", "--r_ab=2"];
  const run = await trainTiny(t, join(root, "runs"), ...flags, "--max_steps=10");
  const [first, loss] = [await lossesOf(run), await lossOf(t, rows, `--ckpt=${run}`)];
  const goOn = (...more: readonly string[]) =>
    runHira(...flags, `--output_folder=${join(root, "runs")}`, `--resume=${run}`, ...more);

  const same = await goOn("--max_steps=10");
  t.is(same.code, 2);
  t.regex(same.err, /with which a run ends, expected .* more updates than its 10[^]*--max_steps/);
  const other = await goOn("--max_steps=20", "--lr=2e-2");
  t.is(other.code, 2);
  t.regex(other.err, /--lr: found 0.02, expected 0.01/);

  const { code, out, err } = await goOn("--max_steps=20");
  t.is(code, 0, err);
  t.regex(
    out,
    /longer now, 20 updates in place of 10: the learning rate follows the schedule of 20, and is 0.005 at step 11; the answers so far are in output.jsonl.step-10/,
  );
  const losses = await lossesOf(run);
  t.is(losses.length, 20);
  t.deepEqual(losses.slice(0, 10), first);
  t.true(Math.abs((losses[10] ?? NaN) - loss) < 1e-6);
  t.true((losses[19] ?? NaN) < loss);
  const lines = (await readFile(join(run, "metrics.jsonl"), "utf8")).trim().split("\n");
  const { lr } = JSON.parse(lines[10] ?? "{}") as { readonly lr: number };
  t.is(lr, 0.005);
  t.is((await runJson(run)).flags.max_steps, 20);
  t.true((await readdir(run)).includes("output.jsonl.step-10"));

  // From here on it is a run of 20 updates, for its records too.
  const config = `--config=${join(run, "config.yaml")}`;
  await rm(join(run, "output.jsonl"));
  const again = await runHira(config, `--resume=${run}`);
  t.is(again.code, 0, again.err);
  t.deepEqual(await lossesOf(run), losses);
});
