import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { originalFlags } from "../../src/cli/train-options.js";
import { UserError } from "../../src/core/errors.js";
import type { DeviceFacts } from "../../src/report/run-json.js";
import { trainOn } from "../../src/runs/run-training.js";
import type { Device } from "../../src/runtime/device.js";
import { InterruptSignal } from "../../src/train/interrupt.js";
import { runTrain } from "../cli/support.js";
import { honestDevice, lyingDevice } from "../support/lying-device.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, writeTinyRows } from "../support/tiny-runs.js";

const liar = lyingDevice(
  ({ scope, op, backward }) =>
    backward && scope.includes("layers.0.self_attn.v_proj") && op.opType.endsWith("MatMul"),
);

interface Told {
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
}

/** Two steps of HiRA on the tiny model, on a device that no flag names. */
const trainTinyOn = async (
  t: ExecutionContext,
  device: Device,
  ...more: readonly string[]
): Promise<Told & { readonly runFolder: string; readonly flags: readonly string[] }> => {
  const folder = await makeTempFolder(t);
  const flags = [
    ...tinyRunFlags(await writeTinyRows(folder)),
    ...["--peft_type=hira", `--output_folder=${join(folder, "runs")}`],
  ];
  const { options, stderr } = await runTrain([...flags, "--device=openvino", ...more]);
  if (!options) throw new Error(stderr);
  const told = { lines: [] as string[], warnings: [] as string[] };
  const progress = { advance: () => undefined, done: () => undefined };
  const ui = {
    training: () => ({
      step: () => undefined,
      validating: () => undefined,
      evaluation: () => undefined,
      done: () => undefined,
    }),
    decoding: () => progress,
    line: (text: string) => void told.lines.push(text),
    warn: (text: string) => void told.warnings.push(text),
  };
  const record = {
    argv: [],
    flags: options.flags,
    defaults: {},
    originalFlags: originalFlags(options),
  };
  const plan = { device, precision: "fp32", threads: 1 } as const;
  try {
    const runFolder = await trainOn({ ...options, plan }, record, ui, new InterruptSignal());
    return { ...told, runFolder, flags };
  } catch (error) {
    t.false(existsSync(join(folder, "runs")), "a refused run leaves no folder");
    throw error;
  }
};

const recorded = async (
  runFolder: string,
): Promise<{ readonly device: DeviceFacts; readonly flags: Record<string, unknown> }> =>
  JSON.parse(await readFile(join(runFolder, "run.json"), "utf8")) as never;

test("a run whose device computes a wrong gradient ends before it has a folder, and the error names the gradient", async (t) => {
  const error = await t.throwsAsync(() => trainTinyOn(t, liar), { instanceOf: UserError });
  t.regex(error.message, /the gradient of model\.layers\.0\.self_attn\.v_proj/);
});

test("a device that agrees is told in one line and recorded; the run goes on elsewhere with a warning, and does not compare", async (t) => {
  const { lines, runFolder, flags } = await trainTinyOn(t, honestDevice);
  t.is(lines.filter((line) => line.startsWith("Device check: loss ")).length, 1);
  const { device } = await recorded(runFolder);
  t.like(device, { name: "openvino", description: "a lying device", precision: "fp32" });
  t.like(device.check, { largest_gradient_error: 0, gradient_bound: 1e-3 });
  t.true(typeof device.check === "object" && device.check?.loss === device.check?.cpu_loss);

  const other = await runHira("train", ...flags, "--seed=7");
  t.is(other.code, 0, other.err);
  const cpuFolder = /Run folder: (.*)/.exec(other.out)?.[1] ?? "";
  t.like((await recorded(cpuFolder)).device, { name: "cpu", precision: "fp32", check: null });
  const compared = await runHira("compare", runFolder, cpuFolder);
  t.regex(
    compared.out.replaceAll(/\s+/g, " "),
    /the runs differ in device: cpu \(2\); openvino \(1\)|differ in device: openvino \(1\); cpu \(2\)/,
  );

  const longer = await runHira("train", ...flags, "--max_steps=6", `--resume=${runFolder}`);
  t.is(longer.code, 0, longer.err);
  t.regex(longer.err, /last bits may differ.*device "cpu" in place of "a lying device"/);
});

test("--skip_device_check trains without the check, says so, and is recorded", async (t) => {
  const { warnings, runFolder } = await trainTinyOn(t, liar, "--skip_device_check");
  t.regex(warnings.join("\n"), /--skip_device_check: nothing that a lying device computes in fp32/);
  const { device, flags } = await recorded(runFolder);
  t.is(device.check, "skipped");
  t.true(flags.skip_device_check);
});

test("the CPU in fp16 is checked as any other device, in training and before an answer, and in fp32 nothing is", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--peft_type=hira"];
  const run = await runHira("train", ...flags, "--precision=fp16", `--output_folder=${folder}`);
  t.is(run.code, 0, run.err);
  t.regex(run.out, /^Device check: loss .* largest gradient error .* allowed \(model\./m);
  const runFolder = /Run folder: (.*)/.exec(run.out)?.[1] ?? "";
  const { device } = await recorded(runFolder);
  t.like(device, { name: "cpu", precision: "fp16" });
  const prompts = join(folder, "prompts.jsonl");
  await writeFile(prompts, `${JSON.stringify({ input_ids: [1, 2, 3] })}\n`);
  const generate = async (...more: readonly string[]): Promise<string> => {
    const out = join(folder, `answers${String(more.length)}.jsonl`);
    const answered = await runHira(
      ...["generate", `--ckpt=${runFolder}`, `--input=${prompts}`, `--out=${out}`],
      ...["--max_new_tokens=2", ...more],
    );
    t.is(answered.code, 0, answered.err);
    return answered.out;
  };
  t.regex(await generate("--precision=fp16"), /^Device check: log-probabilities within/m);
  t.notRegex(await generate(), /Device check/);
});

test("flags of devices that do not go together are refused by name", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--peft_type=hira"];
  const idle = await runHira("train", ...flags, "--skip_device_check");
  t.is(idle.code, 2);
  t.regex(idle.err, /--skip_device_check \(on the CPU in fp32\)/);
  const unknown = await runHira("train", ...flags, "--device=cuda:x");
  t.is(unknown.code, 2);
  t.regex(
    unknown.err,
    /--device: found "cuda:x", expected auto, cpu, openvino, cuda or webgpu, or cuda:N/,
  );
  const lacking = await runHira("train", ...flags, "--precision=bf16");
  t.is(lacking.code, 2);
  t.regex(lacking.err, /--precision=bf16 on --device=cpu/);
});
