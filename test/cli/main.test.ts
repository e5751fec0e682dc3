import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { defineCommand, type Command } from "../../src/cli/command.js";
import { pickFlags } from "../../src/cli/options.js";
import { always } from "../../src/cli/reads.js";
import { UserError } from "../../src/core/errors.js";
import { activities, InterruptedError } from "../../src/train/interrupt.js";
import { runMain, runTrain } from "./support.js";

const throwing = (error: unknown): readonly Command[] => [
  defineCommand({
    name: "fall",
    summary: "Throw",
    flags: {},
    reads: {},
    examples: [],
    run: async () => {
      throw error;
    },
  }),
];

test("hira --help lists the commands by their whole names, within 100 columns", async (t) => {
  const { code, stdout, stderr } = await runMain(["--help"]);
  t.is(code, 0);
  t.is(stderr, "");
  t.regex(stdout, /^Usage: hira <command> \[flags\]/);
  t.regex(stdout, /\n {2}score +Score answers/);
  t.regex(stdout, /\n {2}data split +Split/);
  t.true(stdout.split("\n").every((line) => line.length <= 100));
});

test("hira train --help has every flag once, under a heading, and marks ours", async (t) => {
  const { code, stdout } = await runTrain(["train", "--help"]);
  t.is(code, 0);
  for (const name of ["peft_type", "lr", "rand_R", "early_stop_patience", "compat"])
    t.is(stdout.split(`\n  --${name} `).length, 2, name);
  t.regex(stdout, /\nModel and method:\n {2}--peft_type <name>/);
  t.regex(stdout, /--lr <x> +Highest learning rate;[^]*?\(default:\s+1e-5\)/);
  t.regex(stdout, /--max_grad_norm <x> +\+ Longer gradients/);
  t.regex(stdout, /\+ a flag of ours, which train_hira\.py does not have/);
});

test("a beginning of --help asks for help", async (t) => {
  const { code, stdout } = await runTrain(["--lr=1", "--hel"]);
  t.is(code, 0);
  t.regex(stdout, /^Usage: hira train/);
});

test("hira --version prints the version of package.json", async (t) => {
  const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };
  t.deepEqual(await runMain(["--version"]), { code: 0, stdout: `${version}\n`, stderr: "" });
});

test("hira alone prints its help to stderr and exits 2", async (t) => {
  const { code, stdout, stderr } = await runMain([]);
  t.is(code, 2);
  t.is(stdout, "");
  t.regex(stderr, /^Usage: hira/);
});

for (const [argv, message] of [
  [["scroe"], 'found no such command, expected .*score.*, data split\n  Did you mean "score"?'],
  [["data", "spilt"], 'Cannot run "data spilt": .*\n  Did you mean "data split"?'],
  [["nothing"], 'See "hira --help"'],
] as const) {
  test(`hira ${argv.join(" ")} exits 2 and says which commands there are`, async (t) => {
    const { code, stderr } = await runMain(argv);
    t.is(code, 2);
    t.regex(stderr, new RegExp(message.replaceAll("?", "\\?")));
  });
}

test("hira data --help lists its commands", async (t) => {
  const { code, stdout } = await runMain(["data", "--help"]);
  t.is(code, 0);
  t.regex(stdout, /data split +Split/);
});

test("main shows a UserError without its stack, the hint indented, and returns 2", async (t) => {
  const { code, stderr } = await runMain(
    ["fall"],
    throwing(new UserError("Cannot fly", "Walk\nOr swim")),
  );
  t.is(code, 2);
  t.is(stderr, "error: Cannot fly\n  Walk\n  Or swim\n");
});

test("main shows any other error with its stack and returns 1", async (t) => {
  const { code, stderr } = await runMain(["fall"], throwing(new RangeError("index 7")));
  t.is(code, 1);
  t.regex(stderr, /^error: RangeError: index 7\n +at .*main\.test\.ts/);
  t.regex(stderr, /fault of hira/);
  t.is((await runMain(["fall"], throwing("text"))).code, 1);
});

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`main returns ${String(code)} when a run has been asked to stop by ${signal}`, async (t) => {
    const command = (run: Command["run"]): Command =>
      defineCommand({
        name: "work",
        summary: "",
        flags: {},
        reads: {},
        examples: [],
        finishOnSignal: true,
        run,
      });
    const saves = command(async ({ context }) => {
      context.interrupt.request(signal);
    });
    t.is((await runMain(["work"], [saves])).code, code);
    const leaves = command(async ({ context }) => {
      context.interrupt.request(signal);
      throw new InterruptedError(signal);
    });
    t.deepEqual(await runMain(["work"], [leaves]), { code, stdout: "", stderr: "" });
  });
}

test("main turns a real SIGTERM into a request to the command and warns", async (t) => {
  const work = defineCommand({
    name: "work",
    summary: "",
    flags: {},
    reads: {},
    examples: [],
    finishOnSignal: true,
    run: async ({ context: { interrupt } }) => {
      process.kill(process.pid, "SIGTERM");
      await interrupt.during(activities.training, async () => {
        while (interrupt.requested === undefined) await new Promise((done) => setTimeout(done, 5));
      });
    },
  });
  const { code, stderr } = await runMain(["work"], [work]);
  t.is(code, 143);
  t.is(
    stderr,
    "warning: SIGTERM: finishing this step and saving; once more to stop at once without saving\n",
  );
});

test("a command gets the defaults of its own flags and its words", async (t) => {
  let got: unknown;
  const command = defineCommand({
    name: "take",
    summary: "",
    flags: { ...pickFlags(["lr", "seed"]), out: { ...pickFlags(["out"]).out, default: "x" } },
    reads: { lr: always, seed: always, out: always },
    words: { name: "<file>...", help: "Files" },
    examples: [],
    run: async ({ values, words, throwFaults }) => {
      throwFaults();
      got = { values, words };
    },
  });
  t.is((await runMain(["take", "a", "--lr=2", "b"], [command])).code, 0);
  t.deepEqual(got, { values: { lr: 2, seed: null, out: "x" }, words: ["a", "b"] });
});

test("hira data split writes the three files and says how many rows each has", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "hira-split-"));
  const input = join(folder, "rows.json");
  const rows = Array.from({ length: 10 }, (_, i) => ({
    instruction: `q${String(i)}`,
    input: "",
    output: "a",
  }));
  await writeFile(input, JSON.stringify(rows));
  const { code, stdout, stderr } = await runMain([
    "data",
    "split",
    "--input",
    input,
    "--hold_out=2",
  ]);
  t.is(stderr, "");
  t.is(code, 0);
  t.is(
    stdout,
    [
      `${folder}/train.json  8 rows`,
      `${folder}/validation.json  2 rows`,
      `${folder}/test.json  2 rows`,
      "",
    ].join("\n"),
  );
  const heldOut = JSON.parse(await readFile(join(folder, "test.json"), "utf8")) as {
    instruction: string;
  }[];
  // Python's order of 10 rows with seed 58: 2 4 7 0 1 6 5 8 3 9.
  t.deepEqual(
    heldOut.map(({ instruction }) => instruction),
    ["q3", "q9"],
  );
});
