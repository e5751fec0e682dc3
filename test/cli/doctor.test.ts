import test from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { formatModelCheck } from "../../src/cli/doctor-table.js";
import { featuresOf } from "../../src/core/processor-features.js";
import { checkModel } from "../../src/runs/check-model.js";
import type { DoctorReport } from "../../src/runs/doctor.js";
import { firstWrongGradient } from "../../src/train/device-check.js";
import { loadBase } from "../../src/train/load-base.js";
import { lyingDevice } from "../support/lying-device.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const silent = {
  training: () => {
    throw new Error("nothing is trained");
  },
  decoding: () => ({ advance: () => undefined, done: () => undefined }),
  line: () => undefined,
  warn: () => undefined,
};

test("hira doctor shows every device and what it lacks within 80 columns, as JSON too", async (t) => {
  const { code, out } = await runHira("doctor");
  t.is(code, 0);
  for (const name of ["cpu", "openvino", "cuda", "webgpu"])
    t.regex(out, new RegExp(`^${name} `, "m"));
  for (const line of out.split("\n")) t.true(line.length <= 80 || !/ {2,}\S+ \S/.test(line), line);
  const json = await runHira("doctor", "--json", "--device=cpu");
  t.is(json.code, 0);
  const report = JSON.parse(json.out) as DoctorReport;
  const [cpu] = report.devices;
  t.is(report.asked, "cpu");
  t.like(cpu, { name: "cpu", place: "host" });
  t.true(cpu !== undefined && "rates" in cpu && (cpu.rates[0]?.gflops ?? 0) > 0);
});

test("hira doctor ends with 1 where the device that is asked for cannot compute", async (t) => {
  const folder = await makeTempFolder(t);
  const { code, out } = await runHira("doctor", "--device=cuda", `--device_dir=${folder}`);
  t.is(code, 1);
  t.regex(out, /^cuda +not here\n +Cannot compute/m);
});

test("hira doctor --model refuses to compare the CPU with itself", async (t) => {
  const { code, err } = await runHira("doctor", `--model=${demoFolder}`);
  t.is(code, 2);
  t.regex(err, /--model: found the CPU in fp32|Cannot use --model: found the CPU in fp32/);
});

test("a device that is wrong in one layer of a model is told by the first gradient, in training and in decoding", async (t) => {
  const base = await loadBase(
    demoFolder,
    { loadBit: 16, quantType: "nf4", doubleQuant: true, tokenizer: "optional" },
    silent,
  );
  const device = lyingDevice(
    ({ scope, op }) => scope.includes("layers.0.mlp.down_proj") && op.opType.endsWith("MatMul"),
  );
  const plan = { device, precision: "fp32", threads: 1 } as const;
  const found = await checkModel(base, "hira", plan, silent);
  const wrong = firstWrongGradient(found.training);
  t.truthy(wrong);
  t.true((found.decoding?.logProbError ?? 0) > (found.decoding?.bound ?? Infinity));
  const lines = formatModelCheck(
    {
      ...found,
      ...{ device: device.description, precision: "fp32", peftType: "hira", model: demoFolder },
      fault: { message: "Cannot trust it", hint: "Choose another" },
    },
    { columns: 80, paint: (_, text) => text },
  );
  t.regex(lines.join("\n"), /Check on demo\ndevice +a lying device, fp32\n/);
  t.true(lines.every((line) => line.length <= 80));
});

test("the processor's features are read from /proc/cpuinfo of x86 and of ARM", (t) => {
  t.deepEqual(featuresOf("model name\t: x\nflags\t\t: fpu avx2 amx_bf16 avx512_bf16 sse\n"), [
    "avx2",
    "avx512_bf16",
    "amx_bf16",
  ]);
  t.deepEqual(featuresOf("Features\t: fp asimd bf16 crc32\n"), ["asimd", "bf16"]);
  t.deepEqual(featuresOf("nothing"), []);
});
