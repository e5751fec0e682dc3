import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Graph } from "../../../src/graph/graph.js";
import { openGraph } from "../../../src/runtime/compute-plan.js";
import { openCuda, type CudaDevice } from "../../../src/runtime/devices/cuda.js";
import { openDevice } from "../../../src/runtime/devices/registry.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { buildOpGraph, opCases, opsWithoutForm } from "../../../scripts/gpu-check/op-graph.js";
import { profiledDevice } from "../../../scripts/gpu-check/placement.js";
import { loadModel, randomBatch, trainSteps } from "../../../scripts/gpu-check/training.js";
import { peftFixture } from "../../support/adapter-base.js";
import { makeTempFolder } from "../../support/temp-folder.js";
import {
  addCudaLibraries,
  addDriver,
  addProvider,
  standInCounter,
  standInMisses,
  type StandInCounts,
} from "../../support/cuda-stand-in/build.js";

// Libraries are a process's: what is missing is tried first, then the stand-in is loaded for good.

const withStandIn = (title: string, body: (t: ExecutionContext) => Promise<void> | void): void => {
  if (standInMisses === undefined) test.serial(title, body);
  else test.serial.skip(`${title} (${standInMisses})`, body);
};

let folder = "";
let counts: () => StandInCounts = () => {
  throw new Error("the stand-in is not loaded");
};
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hira-cuda-"));
});
test.after.always(() => rm(folder, { recursive: true, force: true }));

const open = (environment: Readonly<Record<string, string>> = {}, card = 0): Promise<CudaDevice> =>
  openCuda({ folder, card }, environment);

test.serial(
  "a folder without ONNX Runtime's CUDA provider is refused, with the line that installs it",
  async (t) => {
    const place = await makeTempFolder(t);
    await t.throwsAsync(openDevice({ device: "cuda", folder: place }), {
      name: "UserError",
      message: `Cannot compute on device "cuda": found no libonnxruntime_providers_cuda.so in ${place}, expected ONNX Runtime's CUDA provider`,
    });
  },
);

withStandIn("missing libraries, driver and cards are told apart", async (t) => {
  addProvider(folder);
  // libcudart alone may be the system's.
  await t.throwsAsync(open(), {
    name: "UserError",
    message:
      /^Cannot compute on device "cuda": found no .*libcublasLt\.so\.13, no libcublas\.so\.13, no libcurand\.so\.10, expected CUDA 13's libraries in /,
  });
  addCudaLibraries(folder);
  await t.throwsAsync(open(), {
    name: "UserError",
    message: /found no driver of NVIDIA's, expected its libcuda\.so\.1, for CUDA 13 or later$/,
  });
  addDriver(folder);
  process.env.STAND_IN_DRIVER = "12040";
  await t.throwsAsync(open(), {
    message:
      'Cannot compute on device "cuda:0": found a driver for CUDA 12.4, expected one for 13.0 or later',
  });
  delete process.env.STAND_IN_DRIVER;
  process.env.STAND_IN_CARDS = "0";
  await t.throwsAsync(open({ CUDA_VISIBLE_DEVICES: "" }), {
    message:
      'Cannot compute on device "cuda:0": found no card of NVIDIA\'s (CUDA_VISIBLE_DEVICES= hides the others), expected one',
  });
  delete process.env.STAND_IN_CARDS;
  await t.throwsAsync(open({}, 2), {
    message: 'Cannot compute on device "cuda:2": found 1 card, expected number 2, counted from 0',
  });
  await t.throwsAsync(open({ HIRA_CUDA_MEMORY: "8GB" }), {
    message: /found HIRA_CUDA_MEMORY=8GB, expected a whole number of MiB/,
  });
  // It asks the system which cards there are, not CUDA.
  const plugin = await open({ HIRA_CUDA_ROUTE: "plugin" }).catch((error: unknown) => error);
  if (plugin instanceof Error) t.regex(plugin.message, /found no card offered by it/);
  else t.like(plugin, { route: "plugin" });
});

withStandIn("a card's tensors are copied, cut and reused, and never read in place", async (t) => {
  const device = await open({ HIRA_CUDA_MEMORY: "1" });
  t.is(
    device.description.replace(/ONNX Runtime .*/, ""),
    "Stand-in (cuda:0, compute capability 9.0, CUDA 13.0, driver for 13.0, TF32 off), ",
  );
  t.deepEqual(device.precisions, ["fp32", "bf16", "fp16", "mixed"]);
  counts = standInCounter(folder);
  const tensor = device.upload(Tensor.fromArray("float32", [4], Float32Array.of(1, 2, 3, 4)));
  t.is(tensor.place, "cuda:0");
  t.is(device.upload(tensor), tensor);
  t.throws(() => tensor.data, {
    instanceOf: RangeError,
    message: /found it in the memory of cuda:0, expected it in the host's \(Device\.read copies\)$/,
  });
  const [middle, end] = [tensor.view(1, [2]), tensor.view(2, [2])];
  t.deepEqual(device.read(middle), Float32Array.of(2, 3));
  device.write(end, Float32Array.of(-1, -2));
  t.deepEqual(device.read(tensor), Float32Array.of(1, 2, -1, -2));
  t.throws(() => device.write(tensor, Float32Array.of(1)), { instanceOf: RangeError });

  const { bytesHeld } = counts();
  for (const each of [tensor, middle, end]) each.dispose();
  const zeros = device.zeros("bfloat16", [3, 5]);
  t.deepEqual(device.read(zeros), new Uint16Array(15));
  t.is(counts().bytesHeld, bytesHeld, "the block of the first tensor serves the second");

  // More than goes through the staging memory at once.
  const many = Float32Array.from({ length: 200_000 }, (_, i) => i);
  const large = device.upload(Tensor.fromArray("float32", [200_000], many));
  t.deepEqual(device.read(large), many);
  const full = t.throws(() => device.zeros("float32", [100_000]));
  t.regex(
    full?.message ?? "",
    /^Cannot hold a tensor on device "cuda:0": found 1 MiB free, expected 1 MiB; tensors of this run take 1 MiB$/,
  );
  large.dispose();
  t.notThrows(() => device.zeros("float32", [100_000]));
  t.is(counts().faults, 0);
  zeros.dispose();
  device.dispose();
});

withStandIn("runs whose outputs stay on the card wait for nothing, and others once", async (t) => {
  const device = await open();
  const g = new Graph();
  const x = g.input("x", "float32", ["rows", 4]);
  const y = g.linear(x, g.weight("w", "float32", [3, 4]));
  g.output("y", y);
  g.output("sum", g.reduceSum(y, { axes: [0, 1] }));
  const w = Tensor.fromArray("float32", [3, 4], new Float32Array(12).fill(2));
  const before = counts();
  const session = await openGraph({ device, precision: "fp32", threads: 1 }, g, {
    initializers: { w },
  });
  const again = await openGraph({ device, precision: "fp32", threads: 1 }, g, {
    initializers: { w },
  });
  t.is(counts().bytesUp - before.bytesUp, w.byteLength, "a frozen weight goes up once");
  const [onCard, out, sum] = [
    device.upload(Tensor.zeros("float32", [2, 4])),
    device.zeros("float32", [2, 3]),
    device.zeros("float32", []),
  ];
  await session.run({ x: onCard }, { y: out, sum }, { sync: true });
  const first = counts();
  await session.run({ x: onCard }, { y: out, sum }, { sync: true });
  await again.run({ x: onCard }, { y: out, sum });
  const second = counts();
  t.true(second.launches > first.launches);
  t.like(second, { waits: first.waits, copiesUp: first.copiesUp, copiesDown: first.copiesDown });
  t.is(second.strays, before.strays, "all sessions work in the device's stream");

  const given = await session.run({ x: onCard }, { y: out });
  t.is(given.sum?.place, "host");
  const third = counts();
  t.like(third, {
    waits: second.waits + 1,
    copiesUp: second.copiesUp,
    copiesDown: second.copiesDown + 1,
    bytesDown: second.bytesDown + 4,
  });
  t.is(third.faults, 0);
  session.dispose();
  again.dispose();
  device.dispose();
});

withStandIn(
  "an update of a training waits for its loss and for its norm, and for nothing else",
  async (t) => {
    const device = await open();
    const place = await makeTempFolder(t);
    const model = await loadModel(peftFixture("base"));
    const watched = profiledDevice(device, place);
    const train = async (steps: number): Promise<StandInCounts> => {
      const before = counts();
      const { losses } = await trainSteps(
        model,
        { device: watched.device, precision: "fp32", threads: 1 },
        {
          ...{ method: "hira", rank: 2, rate: 1e-3, checkpointing: false, steps },
          batchOf: (step) => randomBatch(16, { batch: 2, seq: 6, labelled: 3 }, step),
        },
      );
      t.is(losses.length, steps);
      const after = counts();
      const keys = Object.keys(after) as (keyof StandInCounts)[];
      const differences = keys.map((key): [string, number] => [key, after[key] - before[key]]);
      return Object.fromEntries(differences) as Record<keyof StandInCounts, number>;
    };
    const [two, five] = [await train(2), await train(5)];
    const perUpdate = (name: keyof StandInCounts): number => (five[name] - two[name]) / 3;
    t.is(perUpdate("waits"), 2);
    // The loss and the sum of squares.
    t.deepEqual([perUpdate("copiesDown"), perUpdate("bytesDown")], [2, 8]);
    // Ids, labels and what belongs to them, and the scalars of the update.
    t.true(
      perUpdate("copiesUp") <= 16 && perUpdate("bytesUp") < 1024,
      String(perUpdate("bytesUp")),
    );
    t.is(five.faults + five.strays, 0);
    for (const { onCpu, copies, nodes } of watched.takePlacements()) {
      t.deepEqual({ onCpu, copies }, { onCpu: [], copies: 0 });
      t.true(nodes > 0);
    }
    device.dispose();
  },
);

withStandIn("a run that finds no room on the card says so, and what takes less", async (t) => {
  const device = await open();
  const g = new Graph();
  const x = g.input("x", "float32", ["n"]);
  const table = g.reshape(x, ["n", 1]);
  const products = g.matmul(table, table, { transB: true });
  g.output("y", g.reduceSum(products, { axes: [0, 1] }));
  const session = await openGraph({ device, precision: "fp32", threads: 1 }, g);
  const large = device.zeros("float32", [4096]);
  process.env.STAND_IN_MIB = "16";
  await t.throwsAsync(session.run({ x: large }), {
    name: "UserError",
    message: /^Cannot compute on device "cuda": found no room on the card \(/,
  });
  process.env.STAND_IN_MIB = "80";
  await t.notThrowsAsync(session.run({ x: large }));
  delete process.env.STAND_IN_MIB;
  session.dispose();
  device.dispose();
});

withStandIn("no op's case leaves the card, but for arithmetic on shapes", async (t) => {
  const device = await open();
  const watched = profiledDevice(device, await makeTempFolder(t));
  const shapeOps = new Set<string>();
  let built = 0;
  for (const dtype of ["float32", "bfloat16"] as const)
    for (const { op, check } of opCases()) {
      // Its sizes come from elements, and there are none.
      if (/^at run time/.test(check.title)) continue;
      const { graph, feeds } = buildOpGraph(check, dtype);
      if (opsWithoutForm(graph, device.hasKernel).length > 0) continue;
      const title = `${op} ${check.title}, ${dtype}`;
      const plan = { device: watched.device, precision: "fp32", threads: 1 } as const;
      const session = await openGraph(plan, graph);
      const onCard = Object.entries(feeds).map(([name, tensor]) => [name, device.upload(tensor)]);
      await session.run(Object.fromEntries(onCard) as Record<string, Tensor>, {}, { sync: true });
      session.dispose();
      const [placement] = watched.takePlacements();
      const { onCpu = ["no profile"], copies = NaN, shapes = [] } = placement ?? {};
      t.deepEqual({ title, onCpu, copies }, { title, onCpu: [], copies: 0 });
      for (const each of shapes) shapeOps.add(each);
      built++;
    }
  t.true(built > 180, String(built));
  t.deepEqual([...shapeOps].sort(), ["Add int64", "Concat int64", "Gather int64", "Mul int64"]);
  device.dispose();
});
