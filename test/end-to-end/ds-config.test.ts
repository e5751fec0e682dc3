import { spawnSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { learningRate } from "../../src/train/schedule.js";
import { prepareRuns, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { startHira } from "../support/start-hira.js";

const files = (await readdir("ds_configs")).filter((name) => name.endsWith(".json")).sort();

const hasMpi = !spawnSync("mpirun", ["--version"]).error;
/** A test of two processes; where there is no MPI launcher it is skipped, and says so. */
const withMpi = hasMpi ? test.serial : test.serial.skip;
if (!hasMpi)
  process.stderr.write(
    "Skipped: --ds_config in two processes needs mpirun (openmpi-bin or mpich)\n",
  );

interface Figures {
  readonly loss: number;
  readonly lr: number;
}

const figuresOf = async (output: string): Promise<readonly Figures[]> => {
  const text = await readFile(join(runFolderIn(output), "metrics.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Figures)
    .filter(({ loss }) => typeof loss === "number");
};

const steps = (count: number): readonly string[] => [
  ...[
    "--peft_type=hira",
    "--r_ab=2",
    "--eval_strategy=steps",
    `--max_steps=${String(count)}`,
    `--eval_steps=${String(count)}`,
  ],
];

/** Figures and standard error of a run in one process, by a file or by what stands in one. */
const train = async (t: ExecutionContext, config: string | object, ...more: readonly string[]) => {
  const { folder, flags } = await prepareRuns(t);
  const path = typeof config === "string" ? config : join(folder, "ds.json");
  if (typeof config === "object") await writeFile(path, JSON.stringify(config));
  const argv = [...flags, ...steps(8), `--ds_config=${path}`, ...more];
  const { code, out, err } = await runHira(...argv);
  t.is(code, 0, err);
  return { figures: await figuresOf(out), err };
};

const losses = (figures: readonly Figures[]): readonly number[] => figures.map(({ loss }) => loss);

// Fourteen runs, of which each takes a second or two.
test("the eleven files train in one process: stages change no number, fp16 the precision", async (t) => {
  const plain = await train(t, {});
  const half = await train(t, {}, "--precision=fp16");
  t.notDeepEqual(losses(half.figures), losses(plain.figures));
  t.is(files.length, 11);
  for (const name of files) {
    const { figures } = await train(t, `ds_configs/${name}`);
    const expected = name.includes("fp16") ? half : plain;
    t.deepEqual(losses(figures), losses(expected.figures), name);
  }
  const { err } = await train(t, "ds_configs/ds_config_fp16_z3pp.json");
  t.regex(err, /zero_quantized_weights would gather the weights in 8 bits \(ZeRO\+\+\)/);
});

for (const stage of [1, 2, 3])
  withMpi(
    `ds_config_z${String(stage)}.json trains in two processes to the losses of one`,
    async (t) => {
      const { flags } = await prepareRuns(t);
      const argv = [
        ...flags,
        ...steps(8),
        `--ds_config=ds_configs/ds_config_z${String(stage)}.json`,
      ];
      const one = await runHira(...argv, "--grad_acc=2");
      const two = await startHira(t, ["launch", "--num_gpus=2", "train_hira.py", ...argv]).ended;
      t.is(two.code, 0, two.err);
      const [expected, found] = [await figuresOf(one.out), await figuresOf(two.out)];
      t.is(found.length, 8);
      for (const [i, { loss }] of found.entries())
        t.true(Math.abs(loss / (expected[i]?.loss ?? NaN) - 1) < 2e-5, String(loss));
    },
  );

test("a scheduler block gives the rates, and an optimizer block the updates", async (t) => {
  const scheduler = (type: string, params: object) => ({
    scheduler: {
      type,
      params: { warmup_num_steps: "auto", warmup_type: "linear", ...params },
    },
  });
  const cosine = scheduler("WarmupCosineLR", { total_num_steps: "auto", cos_min_ratio: 0.1 });
  const asked = { type: "WarmupCosineLR", warmupType: "linear", start: 0, end: 0.1 } as const;
  const schedule = { peak: 1e-2, warmupSteps: 2, totalSteps: 8, scheduler: asked };
  const { figures } = await train(t, cosine);
  t.deepEqual(
    figures.map(({ lr }) => lr),
    figures.map((_, i) => learningRate(schedule, i)),
  );
  const params = { lr: "auto", weight_decay: "auto" };
  const [plain, ...others] = await Promise.all(
    [
      {},
      { betas: [0.5, 0.9] },
      { eps: 1e-3 },
      { adam_w_mode: false },
      { bias_correction: false },
    ].map((more) =>
      train(
        t,
        { optimizer: { type: "Adam", params: { ...params, ...more } } },
        "--weight_decay=0.5",
      ),
    ),
  );
  const without = await train(t, {}, "--weight_decay=0.5");
  t.deepEqual(losses(plain?.figures ?? []), losses(without.figures));
  const found = others.map((other) => losses(other.figures).slice(3).join(" "));
  t.is(new Set([losses(without.figures).slice(3).join(" "), ...found]).size, 5);
});

test("offload_optimizer to nvme keeps the moments in a file there, to the same bits", async (t) => {
  const { folder } = await prepareRuns(t);
  const plain = await train(t, {});
  const offload = (path: string) => ({
    zero_optimization: { stage: 2, offload_optimizer: { device: "nvme", nvme_path: path } },
  });
  const { figures, err } = await train(t, offload(join(folder, "scratch")));
  t.deepEqual(losses(figures), losses(plain.figures));
  t.regex(err, /offload_optimizer to nvme: the moments are in a mapped file there/);
  const file = join(folder, "file");
  await writeFile(file, "");
  const { flags } = await prepareRuns(t);
  const config = join(folder, "ds.json");
  await writeFile(config, JSON.stringify(offload(join(file, "below"))));
  const refused = await runHira(...flags, ...steps(2), `--ds_config=${config}`);
  t.is(refused.code, 2);
  t.true(refused.err.includes(join(file, "below")), refused.err);
});
