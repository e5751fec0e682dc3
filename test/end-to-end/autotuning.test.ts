import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { prepareRuns } from "../support/resumed-runs.js";
import { startHira } from "../support/start-hira.js";

const hasMpi = !spawnSync("mpirun", ["--version"]).error;

interface Results {
  readonly best: string | null;
  readonly trials: readonly {
    readonly name: string;
    readonly measured: {
      readonly throughput: number;
      readonly peakBytes: readonly number[];
    } | null;
    readonly remark: string;
  }[];
}

const resultsOf = async (folder: string): Promise<Results> =>
  JSON.parse(await readFile(join(folder, "results", "results.json"), "utf8")) as Results;

/** A file that tunes in this folder, and the flags of a line for it. */
const prepare = async (t: Parameters<typeof prepareRuns>[0], file: object, block: object = {}) => {
  const { folder, flags } = await prepareRuns(t);
  const config = join(folder, "tune.json");
  const places = { results_dir: join(folder, "results"), exps_dir: join(folder, "exps") };
  const autotuning = { enabled: true, overwrite: false, ...places, ...block };
  await writeFile(config, JSON.stringify({ ...file, autotuning }));
  const line = [
    ...["train_hira.py", "--peft_type=hira", "--r_ab=2", "--eval_strategy=steps", "--eval_steps=2"],
    ...[...flags, "--max_steps=2", `--ds_config=${config}`],
  ];
  return { folder, line };
};

const sizes = {
  start_profile_step: 2,
  end_profile_step: 3,
  num_tuning_micro_batch_sizes: 2,
  arg_mappings: { train_micro_batch_size_per_gpu: "--batch" },
};

test("hira launch --autotuning=run tries batch sizes in short runs, and trains with the best", async (t) => {
  const { folder, line } = await prepare(t, { train_micro_batch_size_per_gpu: "auto" }, sizes);
  const { code, out, err } = await startHira(t, ["launch", "--autotuning=run", ...line]).ended;
  t.is(code, 0, err);
  const { best, trials } = await resultsOf(folder);
  t.deepEqual(
    trials.map(({ name, remark }) => [name, remark]),
    [
      ["z0_tmbspg4_gas2", ""],
      ["z0_tmbspg8_gas1", ""],
    ],
  );
  for (const { measured } of trials) {
    t.true((measured?.throughput ?? 0) > 0);
    t.is(measured?.peakBytes.length, 1);
    t.true((measured?.peakBytes[0] ?? 0) > 2 ** 26);
  }
  t.regex(out, /tuning_space \| num_experiments \| best_metric_val \| best_exp_name/);
  t.is(
    await readFile(join(folder, "results", "summary.txt"), "utf8").then((text) =>
      out.includes(text),
    ),
    true,
  );
  const [, batch = "", gradAcc = ""] = /_tmbspg(\d+)_gas(\d+)$/.exec(best ?? "") ?? [];
  t.true(out.includes(`Best: --batch=${batch} --grad_acc=${gradAcc} --ds_config=`));
  // The trials leave no runs behind; the run itself goes on to its end.
  t.deepEqual((await readdir(join(folder, "exps"))).sort(), [
    "z0_tmbspg4_gas2.json",
    "z0_tmbspg8_gas1.json",
  ]);
  const [run = ""] = await readdir(join(folder, "runs"));
  const record = JSON.parse(await readFile(join(folder, "runs", run, "run.json"), "utf8")) as {
    readonly flags: Readonly<Record<string, unknown>>;
  };
  t.like(record.flags, { batch: Number(batch), grad_acc: Number(gradAcc), max_steps: 2 });
  t.true(existsSync(join(folder, "runs", run, "output.jsonl")));
  // What has been measured is not measured again.
  const again = await startHira(t, ["launch", "--autotuning=tune", ...line]).ended;
  t.is(again.code, 0, again.err);
  t.is(again.out.match(/from an earlier time/g)?.length, 4);
});

test("a trial that fails is a row, and where all fail the first says why", async (t) => {
  const { folder, line } = await prepare(
    t,
    { train_batch_size: 8, optimizer: { type: "Lamb" } },
    sizes,
  );
  const { code, err } = await startHira(t, ["launch", "--autotuning=tune", ...line]).ended;
  t.is(code, 2);
  t.regex(err, /Cannot tune: found no trial that has worked; the first: .*found "Lamb"/);
  const { best, trials } = await resultsOf(folder);
  t.is(best, null);
  t.is(trials.length, 2);
  t.true(trials.every(({ measured, remark }) => measured === null && remark.includes("Lamb")));
});

test("what is wrong with a line or a block is told before anything is tried", async (t) => {
  const { folder, line } = await prepare(t, { train_batch_size: 8 }, { metric: "flops" });
  const wrong = await startHira(t, ["launch", "--autotuning=tune", ...line]).ended;
  t.is(wrong.code, 2);
  t.regex(wrong.err, /autotuning\.metric: found "flops", expected throughput or latency/);
  t.false(existsSync(join(folder, "results")));
  const bare = line.filter((word) => !word.startsWith("--ds_config"));
  const without = await startHira(t, ["launch", "--autotuning=tune", ...bare]).ended;
  t.is(without.code, 2);
  t.regex(without.err, /found no --ds_config in the line/);
});

(hasMpi ? test : test.skip)(
  "two processes are tuned over the stages that a file names",
  async (t) => {
    const { folder, line } = await prepare(
      t,
      { train_batch_size: 8, zero_optimization: { stage: [0, 2] } },
      { ...sizes, num_tuning_micro_batch_sizes: 1 },
    );
    const launch = ["launch", "--num_gpus=2", "--autotuning=tune"];
    const { code, err } = await startHira(t, [...launch, ...line]).ended;
    t.is(code, 0, err);
    const { trials } = await resultsOf(folder);
    t.deepEqual(
      trials.map(({ name, measured }) => [name, measured?.peakBytes.length]),
      [
        ["z0_tmbspg4_gas1", 2],
        ["z2_tmbspg4_gas1", 2],
      ],
    );
  },
);

test("a signal ends the tuning with its exit code, and the trial with it", async (t) => {
  const { folder, line } = await prepare(t, {}, { end_profile_step: 100_000 });
  const launched = startHira(t, ["launch", "--autotuning=run", ...line]);
  const log = join(folder, "results", "z0_tmbspg1_gas4", "stdout.log");
  const wait = setInterval(() => {
    if (!existsSync(log) || !/step \d+/.test(readFileSync(log, "utf8"))) return;
    clearInterval(wait);
    launched.child.kill("SIGTERM");
  }, 50);
  const { code, err } = await launched.ended;
  t.is(code, 143, err);
  t.false(existsSync(join(folder, "results", "z0_tmbspg1_gas4", "metrics.json")));
  t.false(existsSync(join(folder, "runs")));
});
