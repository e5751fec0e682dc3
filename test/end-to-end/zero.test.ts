import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { copyAsKilled, prepareRuns, resultsOf } from "../support/resumed-runs.js";
import { launch, trainIn, withMpi } from "../support/launch.js";

const steps = (count: number): readonly string[] => [
  ...["--lr=1e-3", "--r_ab=2", "--eval_strategy=steps", "--eval_steps=20", "--log_steps=1000"],
  `--max_steps=${String(count)}`,
];

interface Figures {
  readonly loss: number;
  readonly grad_norm?: number;
}

/** The losses of updates and evaluations, in their order. */
const figuresOf = async (runFolder: string): Promise<readonly Figures[]> =>
  (await readFile(join(runFolder, "metrics.jsonl"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Figures)
    .filter(({ loss }) => typeof loss === "number");

const largestDifference = (found: readonly Figures[], expected: readonly Figures[]): number =>
  found.length === expected.length
    ? Math.max(...found.map(({ loss }, i) => Math.abs(loss / (expected[i]?.loss ?? NaN) - 1)))
    : Infinity;

/** The flag of a configuration file that asks for a stage. */
const stageFlag = async (
  folder: string,
  stage: number,
  more: Readonly<Record<string, unknown>> = {},
): Promise<string> => {
  const path = join(folder, `stage-${String(stage)}-${Object.keys(more).join("-")}.json`);
  await writeFile(path, JSON.stringify({ zero_optimization: { stage, ...more } }));
  return `--ds_config=${path}`;
};

const cases: readonly (readonly [method: string, stages: readonly number[]])[] = [
  ["hira", [3]],
  ["lora", [2]],
  ["fft", [1, 2, 3]],
];
for (const [method, stages] of cases)
  withMpi(
    `two processes that share the state of ${method} out train to the losses of one`,
    async (t) => {
      const { flags, folder } = await prepareRuns(t);
      const argv = [`--peft_type=${method}`, ...flags, ...steps(50)];
      const one = await figuresOf(await trainIn(t, 1, [...argv, "--grad_acc=4"]));
      for (const stage of stages) {
        // Without overlap in stage 2; and of stage 3 almost every weight is shared out.
        const flag = await stageFlag(folder, stage, {
          overlap_comm: stage !== 2,
          stage3_param_persistence_threshold: 100,
        });
        const two = await figuresOf(await trainIn(t, 2, [...argv, "--grad_acc=2", flag]));
        const [first, expected] = [two[0], one[0]];
        const title = `stage ${String(stage)}`;
        t.true(Math.abs((first?.loss ?? NaN) / (expected?.loss ?? NaN) - 1) < 1e-6, title);
        t.true(
          Math.abs((first?.grad_norm ?? NaN) / (expected?.grad_norm ?? NaN) - 1) < 1e-6,
          title,
        );
        t.true(
          largestDifference(two, one) < 2e-5,
          `${title}: ${String(largestDifference(two, one))}`,
        );
      }
    },
  );

withMpi(
  "three processes of stage 3, which have unequally many micro-batches, train to the losses of one",
  async (t) => {
    const { flags, folder } = await prepareRuns(t);
    const argv = ["--peft_type=fft", ...flags, ...steps(20)];
    const one = await figuresOf(await trainIn(t, 1, [...argv, "--grad_acc=3", "--batch=3"]));
    const flag = await stageFlag(folder, 3);
    const three = await figuresOf(
      await trainIn(t, 3, [...argv, "--grad_acc=1", "--batch=3", flag]),
    );
    t.true(largestDifference(three, one) < 2e-5, String(largestDifference(three, one)));
  },
);

withMpi("two runs of stage 3 have the same bits, and the files of stage 0", async (t) => {
  const { flags, folder } = await prepareRuns(t);
  const argv = ["--peft_type=fft", ...flags, ...steps(20), "--grad_acc=2"];
  const flag = await stageFlag(folder, 3);
  const first = await trainIn(t, 2, [...argv, flag]);
  const expected = await resultsOf(first);
  t.deepEqual(await resultsOf(await trainIn(t, 2, [...argv, flag])), expected);
  const plain = await trainIn(t, 2, argv);
  t.deepEqual(Object.keys(await resultsOf(plain)), Object.keys(expected));
});

withMpi("a run goes on with another stage and another number of processes", async (t) => {
  const { flags, folder } = await prepareRuns(t);
  const argv = ["--peft_type=fft", ...flags, ...steps(40), "--save_total_limit=5"];
  const whole = await trainIn(t, 1, [...argv, "--grad_acc=2"]);
  const stage3 = await stageFlag(folder, 3);
  const stage2 = await stageFlag(folder, 2);
  const sharded = await trainIn(t, 2, [...argv, "--grad_acc=1", stage3]);
  for (const [name, run, processes, more] of [
    ["to stage 2", whole, 2, [stage2]],
    ["from stage 3 to one process", sharded, 1, []],
    ["from stage 3 to stage 3", sharded, 2, [stage3]],
  ] as const) {
    const copy = await copyAsKilled(run, join(folder, name), 20);
    const goesOn = [`--grad_acc=${String(2 / processes)}`, `--resume_from_checkpoint=${copy}`];
    await trainIn(t, processes, [...argv, ...goesOn, ...more]);
    const difference = largestDifference(await figuresOf(copy), await figuresOf(whole));
    t.true(difference < 2e-5, `${name}: ${String(difference)}`);
  }
});

withMpi("an adapter that is pruned is not shared out, in words", async (t) => {
  const { flags, folder } = await prepareRuns(t);
  const argv = ["--peft_type=sparse-lora", ...flags, ...steps(5), await stageFlag(folder, 1)];
  const { code, err } = await launch(t, 2, argv).ended;
  t.is(code, 2);
  t.regex(err, /Cannot train with zero_optimization.stage 1 in 2 processes: found an adapter/);
});
