import { existsSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { eachLaunched, isOpenMpi, launch, trainIn, withMpi } from "../support/launch.js";
import { copyAsKilled, prepareRuns, resultsOf, runFolderIn } from "../support/resumed-runs.js";
import { runHira } from "../support/run-hira.js";
import { startHira, type HiraProcess } from "../support/start-hira.js";
import { makeTwoHosts, type TwoHosts } from "../support/two-hosts.js";

const steps = (count: number): readonly string[] => [
  ...["--lr=1e-3", "--r_ab=2", "--eval_strategy=steps", "--eval_steps=20", "--log_steps=1000"],
  `--max_steps=${String(count)}`,
];

interface Figures {
  readonly loss: number;
  readonly grad_norm?: number;
}

const figuresOf = async (runFolder: string): Promise<readonly Figures[]> => {
  const text = await readFile(join(runFolder, "metrics.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Figures)
    .filter(({ loss }) => typeof loss === "number");
};

const largestDifference = (found: readonly Figures[], expected: readonly Figures[]): number =>
  Math.max(...found.map(({ loss }, i) => Math.abs(loss / (expected[i]?.loss ?? NaN) - 1)));

for (const method of ["hira", "lora", "fft"])
  withMpi(`two processes train ${method} on the micro-batches of one, to its losses`, async (t) => {
    const { flags } = await prepareRuns(t);
    const argv = [`--peft_type=${method}`, ...flags, ...steps(50)];
    const one = await figuresOf(await trainIn(t, 1, [...argv, "--grad_acc=4"]));
    const two = await figuresOf(await trainIn(t, 2, [...argv, "--grad_acc=2"]));
    t.is(two.length, one.length);
    const [first, expected] = [two[0], one[0]];
    t.true(Math.abs((first?.loss ?? NaN) / (expected?.loss ?? NaN) - 1) < 1e-6);
    t.true(Math.abs((first?.grad_norm ?? NaN) / (expected?.grad_norm ?? NaN) - 1) < 1e-6);
    t.true(largestDifference(two, one) < 2e-5, String(largestDifference(two, one)));
  });

withMpi("two processes skip the same updates in fp16 that one does", async (t) => {
  const { folder, flags } = await prepareRuns(t);
  const config = join(folder, "fp16.json");
  const fp16 = { enabled: true, initial_scale_power: 20, loss_scale_window: 6, hysteresis: 1 };
  await writeFile(config, JSON.stringify({ fp16 }));
  const argv = ["--peft_type=hira", ...flags, ...steps(20), `--ds_config=${config}`];
  const skippedIn = async (processes: number): Promise<readonly unknown[]> => {
    const folder = await trainIn(t, processes, [...argv, `--grad_acc=${String(4 / processes)}`]);
    const text = await readFile(join(folder, "metrics.jsonl"), "utf8");
    return text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { loss_scale?: number; skipped?: true })
      .flatMap(({ loss_scale, skipped = false }) => (loss_scale ? [[loss_scale, skipped]] : []));
  };
  const one = await skippedIn(1);
  t.true(JSON.stringify(one).includes("true") && JSON.stringify(one).includes("false"));
  t.deepEqual(await skippedIn(2), one);
});

withMpi(
  "two runs of two processes have the same bits, and so has one that was stopped",
  async (t) => {
    const { flags } = await prepareRuns(t);
    const argv = ["--peft_type=hira", ...flags, ...steps(60), "--grad_acc=2"];
    const first = await trainIn(t, 2, argv);
    const second = await trainIn(t, 2, argv);
    t.deepEqual(await resultsOf(second), await resultsOf(first));
    const stopped = launch(t, 2, [...argv, "--max_steps=4000"]);
    const timer = setInterval(() => {
      const folder = runFolderIn(stopped.printed.out);
      if (folder === "" || !existsSync(join(folder, "checkpoint-20"))) return;
      clearInterval(timer);
      stopped.child.kill("SIGTERM");
    }, 5);
    const { code, out } = await stopped.ended;
    t.is(code, 143);
    t.regex(out, /Stopped after \d+ of 4000 steps; to go on: /);
  },
);

withMpi("a run of two processes goes on in one, and one of one in two", async (t) => {
  const { flags, folder } = await prepareRuns(t);
  const argv = ["--peft_type=hira", ...flags, ...steps(40)];
  const whole = await trainIn(t, 1, [...argv, "--grad_acc=2"]);
  for (const [before, after] of [
    [2, 1],
    [1, 2],
  ] as const) {
    const run = before === 1 ? whole : await trainIn(t, before, [...argv, "--grad_acc=1"]);
    const copy = await copyAsKilled(run, join(folder, `${String(before)}-to-${String(after)}`), 20);
    const goesOn = [`--grad_acc=${String(2 / after)}`, `--resume_from_checkpoint=${copy}`];
    await trainIn(t, after, [...argv, ...goesOn]);
    const difference = largestDifference(await figuresOf(copy), await figuresOf(whole));
    t.true(difference < 2e-5, String(difference));
  }
  const copy = await copyAsKilled(whole, join(folder, "other"), 20);
  const { code, err } = await runHira(...argv, "--grad_acc=1", `--resume_from_checkpoint=${copy}`);
  t.is(code, 2);
  t.regex(err, /--grad_acc: found 1 in one process, expected 2/);
});

withMpi("a process that finds other data ends all, and says which differs in what", async (t) => {
  const { flags, folder } = await prepareRuns(t);
  const other = join(folder, "other.jsonl");
  await cp(join(folder, "validation.jsonl"), other);
  // Each process is started with a line of its own: process 1 reads other rows from the same place on its host.
  const rank = ["--peft_type=hira", ...flags, ...steps(5), "--output_folder=unused"];
  const { code, err } = await eachLaunched(t, [rank, [...rank, `--dataset=${other}`]]).ended;
  t.is(code, 2);
  t.regex(err, /process 0 of 2.*Cannot train in several processes/);
  t.regex(err, /the data: found .* in process 1, expected process 0's/);
});

withMpi("what all processes find wrong is said once, with the exit code of one", async (t) => {
  const { code, err } = await launch(t, 2, ["--peft_type=hara"]).ended;
  t.is(code, 2);
  t.is(err.match(/found "hara"/g)?.length, 1);
});

/** Starts a line on both of two hosts, without ssh between them. */
const launchOnBoth = (
  t: ExecutionContext,
  hosts: TwoHosts,
  { folder, argv }: { readonly folder: string; readonly argv: readonly string[] },
): readonly [HiraProcess, HiraProcess] => {
  const [first] = hosts.addresses;
  const network = first.replace(/\.\d+$/, ".0/24");
  const start = (host: 0 | 1): HiraProcess =>
    startHira(
      t,
      [
        ...["launch", "--no_ssh", `--node_rank=${String(host)}`, `--master_addr=${first}`],
        ...["--master_port=29517", `--hostfile=${join(folder, "hostfile")}`],
        `--launcher_args=--mca btl_tcp_if_include ${network} --mca oob_tcp_if_include ${network}`,
        ...["train_hira.py", ...argv],
      ],
      undefined,
      { within: hosts.on(host) },
    );
  return [start(0), start(1)];
};

const writeHostfile = (folder: string, { addresses }: TwoHosts): Promise<void> =>
  writeFile(join(folder, "hostfile"), addresses.map((address) => `${address} slots=1\n`).join(""));

const onTwoHosts = isOpenMpi ? test.serial : test.serial.skip;

onTwoHosts("two hosts without ssh train as one process, and end when one is cut off", async (t) => {
  const hosts = await makeTwoHosts(t);
  if (!hosts) {
    t.log("Skipped: network namespaces need root and the program ip");
    t.pass();
    return;
  }
  const { flags, folder } = await prepareRuns(t);
  await writeHostfile(folder, hosts);
  const argv = ["--peft_type=hira", ...flags, ...steps(20)];
  const one = await figuresOf(await trainIn(t, 1, [...argv, "--grad_acc=2"]));
  const [lead, other] = launchOnBoth(t, hosts, { folder, argv });
  const [{ code, out, err }, ended] = await Promise.all([lead.ended, other.ended]);
  t.is(code, 0, err);
  t.is(ended.code, 0, ended.err);
  const difference = largestDifference(await figuresOf(runFolderIn(out)), one);
  t.true(difference < 2e-5, String(difference));

  const [long, far] = launchOnBoth(t, hosts, { folder, argv: [...argv, "--max_steps=100000"] });
  const timer = setInterval(() => {
    if (runFolderIn(long.printed.out) === "") return;
    clearInterval(timer);
    hosts.cut();
  }, 20);
  const [stopped, gone] = await Promise.all([long.ended, far.ended]);
  t.not(stopped.code, 0);
  t.not(gone.code, 0);
  t.regex(stopped.err, /a process was killed, or a host lost/);
});

onTwoHosts("packets that come late and get lost change no number", async (t) => {
  const hosts = await makeTwoHosts(t, { delayMs: 50, loss: 0.01 });
  if (!hosts) {
    t.log("Skipped: a slow cable needs root, the program ip and /dev/net/tun");
    t.pass();
    return;
  }
  const { flags, folder } = await prepareRuns(t);
  await writeHostfile(folder, hosts);
  const argv = ["--peft_type=hira", ...flags, ...steps(20)];
  const one = await figuresOf(await trainIn(t, 1, [...argv, "--grad_acc=2"]));
  const [lead, other] = launchOnBoth(t, hosts, { folder, argv });
  const [{ code, out, err }, ended] = await Promise.all([lead.ended, other.ended]);
  t.is(code, 0, err);
  t.is(ended.code, 0, ended.err);
  const difference = largestDifference(await figuresOf(runFolderIn(out)), one);
  t.true(difference < 2e-5, String(difference));
  const { sent = 0, lost = 0 } = hosts.traffic?.() ?? {};
  t.log(`${String(sent)} packets, ${String(lost)} of them lost`);
  t.true(lost > 0);
});

test("hira launch prints the line that it would start", async (t) => {
  const { code, out } = await runHira(
    ...["launch", "--dry_run", "--launcher=openmpi", "--num_gpus=2", "./train_hira.py", "--lr=1"],
  );
  t.is(code, 0);
  t.regex(out, /^mpirun .*-n 2 --host localhost:2 .* train --lr=1\n$/);
});

test("hira launch refuses what does not go together", async (t) => {
  for (const [argv, message] of [
    [["--include=a", "--num_gpus=2", "x"], /--include beside --num_nodes and --num_gpus/],
    [["--include=a", "x"], /found no host a, expected one of localhost/],
    [["--num_nodes=2", "x"], /--num_nodes=2: found 1 host, expected as many at least/],
    [[], /found no program, expected one behind the launcher's flags/],
  ] as const) {
    const { code, err } = await runHira("launch", "--launcher=openmpi", ...argv);
    t.is(code, 2);
    t.regex(err, message);
  }
});
