import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { commands } from "../../src/cli/commands.js";
import { sweepCommand } from "../../src/cli/commands/sweep.js";
import type { Flag } from "../../src/core/flag.js";
import { readDeepSpeedConfig } from "../../src/distributed/ds-config.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { parseShardSize } from "../../src/models/shards.js";
import { countTotalSteps } from "../../src/train/schedule.js";
import { makeFolder } from "../support/make-folder.js";
import { runMain, runTrain } from "./support.js";

process.setMaxListeners(0);

const isNumber = ({ kind }: Flag): boolean => kind === "number" || kind === "integer";

/** Every number flag of every command, with the command's words. */
const numberFlags = commands.flatMap(({ name, flags }) =>
  Object.entries<Flag>(flags)
    .filter(([, flag]) => isNumber(flag))
    .map(([flag, { kind }]) => ({ words: name.split(" "), flag, kind })),
);

test("every number flag of every command refuses what is not finite (9.11)", async (t) => {
  t.true(numberFlags.length > 40);
  for (const { words, flag, kind } of numberFlags)
    for (const text of ["1e400", "-1e400", "inf", "nan", "Infinity", "1e39", "9".repeat(400)]) {
      const { code, stderr } = await runMain([...words, `--${flag}=${text}`], commands);
      t.is(code, 2, `${flag} ${text}`);
      const found =
        kind === "number" && /\d/.test(text) ? `${text}, which is infinite` : `"${text}"`;
      t.true(stderr.includes(`--${flag}: found ${found}`), `${flag} ${text}: ${stderr}`);
    }
});

test("the largest numbers that float32 has are numbers (9.11)", async (t) => {
  const { code, stderr } = await runTrain(["--peft_type=lora", "--lora_alpha=3.4e38"]);
  t.is(code, 0, stderr);
});

const dryRun = async (t: ExecutionContext, lines: readonly string[]) => {
  const folder = await makeFolder(t, { "study.yaml": `${lines.join("\n")}\n` });
  return runMain(["sweep", join(folder, "study.yaml"), "--dry_run"], [sweepCommand(() => [])]);
};

test("--config files and sweeps refuse numbers that are not finite, with the line (9.11)", async (t) => {
  const lines = ["peft_type: hira", "lr: 1e400", "epoch: .inf", "batch: .inf", "grad_acc: 1e400"];
  const more = ["warmup: .nan", "weight_decay: -.inf", "eval_steps: .NaN", "layers: [0, .inf]"];
  const path = join(
    await makeFolder(t, { "run.yaml": `${[...lines, ...more].join("\n")}\n` }),
    "run.yaml",
  );
  const { code, stderr } = await runTrain([`--config=${path}`]);
  t.is(code, 2);
  for (const line of [
    / lr \(\S+, line 2\): found "Infinity", expected a number above 0\n/,
    / epoch \(\S+, line 3\): found "Infinity"/,
    / batch \(\S+, line 4\): found "Infinity"/,
    / grad_acc \(\S+, line 5\): found "Infinity"/,
    / warmup \(\S+, line 6\): found "NaN"/,
    / weight_decay \(\S+, line 7\): found "-Infinity"/,
    / eval_steps \(\S+, line 8\): found "NaN"/,
    / layers \(\S+, line 9\): found "0,Infinity"/,
  ])
    t.regex(stderr, line);
  const sweep = await dryRun(t, [
    "base: {lr: 1e400}",
    "matrix: {peft_type: [hira], weight_decay: [0, .inf]}",
    "include: [{peft_type: lora, lora_alpha: .nan}]",
    "evaluate: {dataset: boolq, beam_size: .inf}",
  ]);
  t.is(sweep.code, 2);
  for (const name of ["lr", "weight_decay", "lora_alpha", "beam_size"])
    t.regex(
      sweep.stderr,
      new RegExp(` ${name} \\(\\S+study\\.yaml, line \\d\\): found "(Inf|NaN)`),
    );
});

test("--rank_pattern, --layers and --max_shard_size refuse numbers that are not finite (9.11)", async (t) => {
  const many = "9".repeat(400);
  for (const text of ["q_proj=1e400", `q_proj=${many}`, '{"q_proj": 1e400}', `{"q_proj": ${many}}`])
    t.regex(
      (await runTrain(["--peft_type=lora", `--rank_pattern=${text}`])).stderr,
      /--rank_pattern: found /,
    );
  for (const text of [many, `0-${many}`, "1e400"])
    t.regex((await runTrain(["--peft_type=lora", `--layers=${text}`])).stderr, /--layers: found /);
  t.is(parseShardSize(`${many}GB`), undefined);
  t.is(parseShardSize("5GB"), 5e9);
});

test("more updates than can be counted are refused (9.11)", (t) => {
  t.throws(() => countTotalSteps(1e30, 10, 1), { message: /--epoch=1e\+30: found 1e\+31 updates/ });
  t.is(countTotalSteps(1.5, 10, 1), 15);
});

test("JSON files refuse numbers that are not finite, with the place: DeepSpeed's and a model's (9.11)", async (t) => {
  const folder = await makeFolder(t, {
    "ds.json": '{\n "zero_optimization": {"stage": 0, "stage3_max_live_parameters": 1e400}\n}',
    "nan.json": '{"gradient_clipping": NaN}',
  });
  const settings = {
    ...{ batch: 1, gradAcc: 1, processes: 1, lr: 1, weightDecay: 0, warmup: 1, maxGradNorm: 1 },
    precision: undefined,
    precisions: ["fp32"],
  } as const;
  await t.throwsAsync(readDeepSpeedConfig(join(folder, "ds.json"), settings), {
    message: /ds\.json, line 2, column 66: found 1e400, expected a finite number/,
  });
  await t.throwsAsync(readDeepSpeedConfig(join(folder, "nan.json"), settings), {
    message: /line 1, column 23: found NaN, expected a finite number/,
  });
  const model = join(folder, "model");
  await mkdir(model);
  await writeFile(join(model, "config.json"), '{"model_type": "llama", "rope_theta": 1e400}');
  await t.throwsAsync(loadModelFolder(model), {
    message: /config\.json, line 1, column 39: found 1e400, expected a finite number/,
  });
});
