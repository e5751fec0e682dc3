import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { elementCount, type DType } from "../../../src/core/dtype.js";
import { generate } from "../../../src/decode/generate.js";
import { ModelEngine } from "../../../src/decode/engine.js";
import { defaultDecodeSettings } from "../../../src/decode/settings.js";
import { Graph } from "../../../src/graph/graph.js";
import { encodeOnnx } from "../../../src/graph/onnx/encode.js";
import { foldConstants } from "../../../src/graph/passes/fold-constants.js";
import { prune } from "../../../src/graph/passes/prune.js";
import { decoderModel } from "../../../src/models/blocks/decoder.js";
import { loadModelFolder } from "../../../src/models/model-folder.js";
import { weightOf } from "../../../src/models/model.js";
import { openFrozenWeights } from "../../../src/models/weights/frozen-weights.js";
import { createLinearAdapter } from "../../../src/peft/adapter.js";
import { normal } from "../../../src/peft/init.js";
import { lora } from "../../../src/peft/lora.js";
import { selectTargets } from "../../../src/peft/targets.js";
import { cpuPlan, openGraph, type ComputePlan } from "../../../src/runtime/compute-plan.js";
import { cpuDevice } from "../../../src/runtime/devices/cpu.js";
import { openDevice } from "../../../src/runtime/devices/registry.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { AdamW, clipFactor, defaultAdamW } from "../../../src/train/adamw.js";
import { openChecked } from "../../../src/train/device-check.js";
import { LossSession } from "../../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../../src/train/parameters.js";
import { elementwiseCases } from "../../graph/ops/cases/elementwise.js";
import { fusedCases } from "../../graph/ops/cases/fused.js";
import { indexingCases } from "../../graph/ops/cases/indexing.js";
import { shapeCases } from "../../graph/ops/cases/shapes.js";
import { sumCases } from "../../graph/ops/cases/sums.js";
import { largestDifference } from "../../support/adapted-model.js";
import { openProbe } from "../../support/check-gradient.js";
import { hiraOn, randomBatch, randomWeights, tinyConfig } from "../../support/random-llama.js";
import { float32, int64 } from "../../support/run-graph.js";
import { unpackSwiftShader } from "../../support/swiftshader.js";

const driver = unpackSwiftShader();

/** One after the other: the process has one GPU. */
const onGpu = (
  title: string,
  body: (t: ExecutionContext, plan: ComputePlan) => Promise<void>,
): void => {
  if ("missing" in driver) {
    test.skip(`${title} (${driver.missing})`, () => undefined);
    return;
  }
  test.serial(title, async (t) => {
    const device = await openDevice({ device: "webgpu", folder: driver.folder });
    await body(t, { device, precision: "fp32", threads: 1 });
  });
};

test.serial("a machine without a GPU's driver is told what it takes", async (t) => {
  const empty = mkdtempSync(join(tmpdir(), "hira-"));
  await t.throwsAsync(openDevice({ device: "webgpu", folder: empty }), {
    name: "UserError",
    message: `Cannot compute on device "webgpu": found neither libvulkan.so.1 nor a driver's *icd*.json in ${empty}, expected one of them`,
  });
  // A process that has found no GPU finds none later.
  const none = join(empty, "none.json");
  const registry = new URL("../../../src/runtime/devices/registry.ts", import.meta.url);
  const script = `
    const { openDevice } = await import(${JSON.stringify(registry.href)});
    await openDevice({ device: "webgpu" }).catch(({ name, message }) => console.log(name, message));`;
  const { stdout } = spawnSync(
    process.execPath,
    ["--import=tsx", "--input-type=module", `--eval=${script}`],
    { encoding: "utf8", env: { ...process.env, VK_ICD_FILENAMES: none, VK_DRIVER_FILES: none } },
  );
  t.regex(stdout, /^UserError Cannot compute on device "webgpu": Failed to get a WebGPU adapter/);
});

onGpu(
  "tensors of every kind go to a GPU and come back, and no code reads them in place",
  async (t, { device }) => {
    t.is(device.place, "webgpu");
    const numbers = [1, 2, 3, 0, 5, 6, 7];
    for (const dtype of ["float32", "int32", "int64", "uint8", "bfloat16", "bool"] as const) {
      const host = Tensor.zeros(dtype, [7]);
      const { data } = host;
      for (const [i, x] of numbers.entries())
        if (data instanceof BigInt64Array) data[i] = BigInt(x);
        else data[i] = x;
      const there = device.upload(host);
      t.is(there.place, "webgpu");
      t.is(device.upload(there), there);
      t.deepEqual(device.read(there), host.data, dtype);
      const zeros = device.zeros(dtype, [7]);
      t.deepEqual(device.read(zeros), Tensor.zeros(dtype, [7]).data);
      device.write(zeros, host.data);
      t.deepEqual(device.read(zeros), host.data);
      t.throws(() => there.data, {
        instanceOf: RangeError,
        message: `Cannot read a ${dtype} tensor of shape [7] in place: found it in the memory of webgpu, expected it in the host's (Device.read copies)`,
      });
    }
    t.deepEqual(device.read(device.zeros("float32", [0, 3])), new Float32Array());
  },
);

onGpu("a GPU's tensor has no stretches, but other shapes of the whole", async (t, { device }) => {
  const tensor = device.upload(float32([2, 3], [1, 2, 3, 4, 5, 6]));
  t.false(device.canSlice);
  t.throws(() => tensor.view(1, [2]), { instanceOf: RangeError, message: /no stretches/ });
  const other = tensor.view(0, [3, 2]);
  tensor.dispose();
  t.deepEqual([...device.read(other)], [1, 2, 3, 4, 5, 6]);
});

/** y = x * w + s, in place of x where that is given as y; `total` is the sum of x * w. */
const scaleGraph = (): Graph => {
  const g = new Graph();
  const x = g.input("x", "float32", ["rows", 3]);
  const scaled = g.mul(x, g.weight("w", "float32", [3]));
  g.output("y", g.add(scaled, g.input("s", "float32", [])));
  g.output("total", g.reduceSum(scaled, { axes: [0, 1] }));
  return g;
};

onGpu(
  "a session writes a GPU's tensors in place, reads the host's as they are at each run, and shares weights",
  async (t, plan) => {
    const { device } = plan;
    const w = float32([3], [2, 3, 4]);
    const sessions = [
      await openGraph(plan, scaleGraph(), { initializers: { w } }),
      await openGraph(plan, scaleGraph(), { initializers: { w } }),
    ];
    const [x, s] = [device.upload(float32([1, 3], [1, 1, 1])), float32([], [1])];
    const totals: number[] = [];
    for (const session of sessions) {
      const { total, y } = await session.run({ x, s }, { y: x });
      t.is(y, x);
      t.is(total?.place, "host");
      totals.push(Number(total?.data[0]));
      s.data[0] = 10;
      // What lies on the GPU is a copy from before.
      (w.data as Float32Array).fill(0);
    }
    t.deepEqual(totals, [9, 38]);
    t.deepEqual([...device.read(x)], [16, 22, 30]);
    for (const session of sessions) session.dispose();
    t.deepEqual([...device.read(x)], [16, 22, 30]);
  },
);

onGpu(
  "runs of a GPU come one after the other, and its memory is not reached meanwhile",
  async (t, plan) => {
    const { device } = plan;
    const session = await openGraph(plan, scaleGraph(), {
      initializers: { w: float32([3], [1, 1, 1]) },
    });
    const x = device.upload(float32([1, 3], [0, 0, 0]));
    const one = float32([], [1]);
    const dropped = device.zeros("float32", [4]);
    const runs = Array.from({ length: 20 }, () => session.run({ x, s: one }, { y: x }));
    await new Promise((resolve) => setImmediate(resolve));
    dropped.dispose();
    const early = t.throws(() => device.read(x), { instanceOf: RangeError });
    t.regex(early.message, /found a run or a new session that is not over/);
    session.dispose();
    await Promise.all(runs);
    t.deepEqual([...device.read(x)], [20, 20, 20]);
    for (let i = 0; i < 300; i++) device.zeros("float32", [1 << 16]).dispose();
    const error = await t.throwsAsync(session.run({ x, s: one }, { y: x }));
    t.regex(error.message, /disposed/);
  },
);

onGpu(
  "the norm's second output, which the provider computes wrong, is right as it is lowered",
  async (t, plan) => {
    const graph = (): Graph => {
      const g = new Graph();
      const gamma = g.constant("float32", [4], Float32Array.of(1, 2, 3, 4));
      const y = g.rmsNorm(g.input("x", "float32", [2, 4]), gamma, { epsilon: 1e-5 });
      g.output("y", y);
      g.output("inv", g.identity(y.producer?.outputs[1] ?? y));
      return g;
    };
    const x = float32([2, 4], [1, 2, 3, 4, -1, 0, 2, 5]);
    const inv = [1, 2].map((_, row) => {
      const squares = x.data.slice(4 * row, 4 * row + 4) as Float32Array;
      return 1 / Math.sqrt(squares.reduce((sum, each) => sum + each ** 2, 0) / 4 + 1e-5);
    });
    const raw = await plan.device.createSession({ model: encodeOnnx(graph()), threads: 1 });
    const wrong = (await raw.run({ x })).inv?.data as Float32Array;
    t.true(largestDifference(wrong, inv) > 0.1, String(wrong));
    raw.dispose();
    const session = await openGraph(plan, graph());
    const { y, inv: right } = await session.run({ x });
    t.true(largestDifference(right?.data as Float32Array, inv) < 1e-6);
    t.true(Math.abs(Number(y?.data[7]) - 5 * Number(inv[1]) * 4) < 1e-5);
    session.dispose();
  },
);

onGpu(
  "a graph with an operator that the GPU lacks is refused, and each of those lacks indeed",
  async (t, plan) => {
    const lacking: Readonly<Record<string, (g: Graph) => void>> = {
      FusedMatMul: (g) => {
        const x = g.input("x", "float32", [2, 2]);
        g.output("y", g.matmul(x, x, { transB: true }));
      },
      LogSoftmax: (g) => {
        g.output("y", g.logSoftmax(g.input("x", "float32", [2, 2]), { axis: 1 }));
      },
      Slice: (g) => {
        const x = g.input("x", "int32", [4]);
        g.output("y", g.slice(x, { axis: 0, start: 1, end: 2 }));
      },
      SoftmaxCrossEntropyLoss: (g) => {
        const [x, labels] = [g.input("x", "float32", [2, 3]), g.input("labels", "int64", [2])];
        g.output("y", g.softmaxCrossEntropyLoss(x, labels));
      },
    };
    for (const [op, build] of Object.entries(lacking)) {
      const g = new Graph();
      build(g);
      const dtype: DType = op === "Slice" ? "int32" : "float32";
      t.false(plan.device.hasKernel(op, dtype));
      const raw = plan.device.createSession({ model: encodeOnnx(g), threads: 1 });
      await t.throwsAsync(raw, { name: "UserError", message: /has no kernel for/ }, op);
      (await openGraph(plan, g)).dispose();
    }
  },
);

/** Which of the ops' cases ask for float64. */
const inFloat64 = "through float32 and back";

onGpu(
  "every op gives a GPU's numbers that are the CPU's, forward and backward",
  async (t, plan) => {
    const cases = Object.entries({
      ...{ ...elementwiseCases, ...fusedCases, ...indexingCases },
      ...{ ...shapeCases, ...sumCases },
    });
    t.true(cases.length > 30);
    for (const [op, checks] of cases)
      for (const check of checks) {
        if (check.title === inFloat64) continue;
        const what = `${op} ${check.title}`;
        const float32Check = { ...check, dtype: "float32" } as const;
        const rewrite = (g: Graph): Graph => foldConstants(prune(g));
        const cpu = await openProbe(float32Check);
        const gpu = await openProbe(float32Check, { rewrite, open: (g) => openGraph(plan, g) });
        const [expected, found] = [await cpu.run(cpu.point), await gpu.run(gpu.point)];
        const same = (a: Float64Array, b: Float64Array | undefined, name: string): void => {
          const scale = Math.max(1e-3, ...a.map(Math.abs));
          t.true(
            a.length === 0 || largestDifference(a, b ?? []) < 1e-5 * scale,
            `${what}: ${name}`,
          );
        };
        expected.outputs.forEach((output, i) => same(output, found.outputs[i], "output"));
        for (const [name, gradient] of expected.gradients)
          same(gradient, found.gradients.get(name), `gradient of ${name}`);
        cpu.dispose();
        gpu.dispose();
      }
  },
);

const batch = randomBatch(
  [
    { length: 7, context: 2, left: 0, right: 0 },
    { length: 5, context: 1, left: 0, right: 2 },
  ],
  tinyConfig.vocabSize,
);

/** Three updates, the losses and norms they have, the loss without gradients after them, and the texts of a beam search. */
const trainAndDecode = async (plan: ComputePlan) => {
  const [model, weights] = [decoderModel(tinyConfig), randomWeights(tinyConfig)];
  const adapter = hiraOn(tinyConfig, "q_proj,down_proj");
  const store = createParameterStore(adapter, 1, () => undefined, { device: plan.device });
  const options = { model, adapter, maxPositions: 16, chunks: 2, recomputeLayers: true };
  const session = await LossSession.create({ ...options, gradients: true }, weights, store, plan);
  const optimizer = await AdamW.create(store, defaultAdamW, plan);
  const losses: number[] = [];
  const norms: number[] = [];
  for (let step = 1; step <= 3; step++) {
    for (const scale of [1 / 18, 1 / 18])
      losses.push(Number((await session.run(batch, scale)).loss));
    const norm = await optimizer.gradientNorm();
    norms.push(norm);
    await optimizer.update(step, 0.05, clipFactor(norm, 0.5));
    clearGradients(store);
  }
  const evaluation = await LossSession.create(
    { ...options, gradients: false },
    weights,
    store,
    plan,
  );
  losses.push(Number((await evaluation.run(batch, 1 / 9)).loss));
  for (const each of [session, evaluation, optimizer]) each.dispose();
  const engine = await ModelEngine.create({ model, weights, maxPositions: 24, plan });
  const texts = await generate({
    engine,
    prompts: [{ ids: [3, 1, 4, 1, 5] }, { ids: [9, 2, 6] }],
    settings: { ...defaultDecodeSettings, numBeams: 3, maxNewTokens: 6, eosIds: [], padId: 0 },
    batch: 2,
  });
  engine.dispose();
  return { losses, norms, tokens: texts.map((beams) => beams.map(({ tokens }) => [...tokens])) };
};

onGpu(
  "a model trains, updates, is evaluated and decodes on a GPU as on the CPU, with no operator left to it",
  async (t, plan) => {
    const [gpu, cpu] = [await trainAndDecode(plan), await trainAndDecode(cpuPlan(1))];
    t.true(largestDifference(gpu.losses, cpu.losses) < 1e-5, String(gpu.losses));
    t.true(largestDifference(gpu.norms, cpu.norms) < 1e-5, String(gpu.norms));
    t.not(cpu.losses.at(-1), cpu.losses[0]);
    t.deepEqual(gpu.tokens, cpu.tokens);
  },
);

onGpu(
  "weights of 8 bits come to a GPU in float32, once, and dropout has the CPU's masks",
  async (t, plan) => {
    const folder = fileURLToPath(
      new URL("../../fixtures/models/families/gpt2/model", import.meta.url),
    );
    const { model, weights: entries } = await loadModelFolder(folder);
    const pack = {
      packing: { kind: "int8" },
      names: new Set(model.linears.map(weightOf)),
      turned: new Set(model.linears.map(weightOf)),
    } as const;
    const weights = await openFrozenWeights(entries, { storage: "stored", pack });
    const uploads: number[] = [];
    const device = {
      ...plan.device,
      upload(tensor: Tensor) {
        uploads.push(elementCount(tensor.shape));
        return plan.device.upload(tensor);
      },
    };
    const adapter = createLinearAdapter(
      lora,
      { rank: 2, alpha: 4, dropout: 0.2, initB: normal(0.1) },
      selectTargets(model.linears, "c_attn"),
    );
    const store = createParameterStore(adapter, 1, () => undefined, { device });
    const options = { model, adapter, maxPositions: 32, chunks: 1, gradients: true, drops: true };
    const check = {
      ...{ options: { ...options, recomputeLayers: false }, weights, store },
      plan: { ...plan, device },
    };
    const { session, found } = await openChecked(check);
    t.true(Math.abs(found.loss.device - found.loss.cpu) < 1e-5 * found.loss.cpu);
    t.true(found.gradients.length > 0);
    for (const { name, error } of found.gradients) t.true(error < 1e-4, name);
    t.is(uploads.length, pack.names.size);
    session.dispose();
    const plain = { ...options, adapter: undefined, gradients: false, recomputeLayers: false };
    (await LossSession.create(plain, weights, undefined, check.plan)).dispose();
    t.is(uploads.length, pack.names.size);
  },
);

onGpu(
  "int64 tensors keep small numbers and sizes of a run, zero rows among them",
  async (t, plan) => {
    const g = new Graph();
    const rows = g.gather(g.input("x", "float32", ["all", 2]), g.input("ids", "int64", ["rows"]), {
      axis: 0,
    });
    g.output("wide", g.expand(g.reshape(rows, ["rows", 1, 2]), ["rows", 3, 2]));
    const [gpu, cpu] = [
      await openGraph(plan, g),
      await openGraph({ ...plan, device: cpuDevice }, g),
    ];
    const x = float32([3, 2], [1, 2, 3, 4, 5, 6]);
    for (const ids of [[2, 0], [1], [0, 0, 0, 2]]) {
      const feeds = { x, ids: int64([ids.length], ids) };
      const [found, expected] = [(await gpu.run(feeds)).wide, (await cpu.run(feeds)).wide];
      t.deepEqual(found?.shape, expected?.shape);
      t.deepEqual(found?.data, expected?.data);
    }
    gpu.dispose();
    cpu.dispose();
  },
);
