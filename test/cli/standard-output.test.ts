import { spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { hiraProgram } from "../support/start-hira.js";

type Sink = "pipe" | "full";

/** Runs one command line as a process whose streams go to a pipe or to a disk that is full. */
const run = async (
  argv: readonly string[],
  { stdout = "full", stderr = "pipe" }: { readonly stdout?: Sink; readonly stderr?: Sink } = {},
): Promise<{ readonly code: number | null; readonly err: string }> => {
  const sink = (kind: Sink): "pipe" | number =>
    kind === "pipe" ? "pipe" : openSync("/dev/full", "w");
  const child = spawn(process.execPath, ["--import=tsx", hiraProgram, ...argv], {
    stdio: ["ignore", sink(stdout), sink(stderr)],
  });
  let err = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.stdout?.resume();
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, err };
};

const onLinux = existsSync("/dev/full") ? test : test.skip;
const oneLine =
  "error: Cannot write to standard output: found no room on the disk\n" +
  "  Make room, or send the output elsewhere\n";
const analysis = [
  ...["train", "--dataset_analysis", `--model=${demoFolder}`],
  ...["--dataset=boolq", `--data_dir=${demoFolder}`],
];

for (const argv of [["--help"], ["train", "--help"], ["--version"], analysis])
  onLinux(
    `hira ${argv.slice(0, 2).join(" ")} on a full disk: one line, exit code 2 (9.10)`,
    async (t) => {
      t.deepEqual(await run(argv), { code: 2, err: oneLine });
    },
  );

onLinux(
  "an error is told though standard output is full, and full stderr ends nothing (9.10)",
  async (t) => {
    const { code, err } = await run(["score", "nope"]);
    t.is(code, 2);
    t.regex(err, /^error: Cannot score nope/);
    t.is((await run(["--help"], { stdout: "full", stderr: "full" })).code, 2);
    t.is((await run(["--help"], { stdout: "pipe", stderr: "full" })).code, 0);
  },
);

onLinux(
  "a training run on a full disk goes on without its log, and says so once (9.10)",
  async (t) => {
    const folder = await makeTempFolder(t);
    const { code, err } = await run([
      ...[
        "--peft_type=hira",
        `--model=${demoFolder}`,
        "--dataset=boolq",
        `--data_dir=${demoFolder}`,
      ],
      ...["--max_steps=2", "--eval_strategy=no", "--limit=2", `--output_folder=${folder}`],
    ]);
    t.is(code, 0, err);
    t.is(
      err.match(
        /warning: Cannot write to standard output: found no room on the disk; going on without the log\n/g,
      )?.length,
      1,
      err,
    );
    const [name = ""] = await readdir(folder);
    t.true(existsSync(join(folder, name, "output.jsonl")));
  },
);
