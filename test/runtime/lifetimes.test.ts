import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { MappedFile } from "../../src/runtime/mapped-file.js";
import { currentMemoryBytes, peakMemoryBytes } from "../../src/runtime/memory.js";
import { OrtSession } from "../../src/runtime/ort/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { chainModel } from "../support/chain-model.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyModel } from "../support/tiny-onnx.js";

// Serial: these measure time and the memory of the whole process.

const doubling = tinyModel({
  inputs: [{ name: "x", dtype: "float32", shape: ["n"] }],
  outputs: [{ name: "y", dtype: "float32", shape: ["n"] }],
  nodes: [{ op: "Add", inputs: ["x", "x"], outputs: ["y"] }],
});

const filled = (length: number, value: number): Tensor =>
  Tensor.fromArray("float32", [length], new Float32Array(length).fill(value));

const collect = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.();
    // Finalizers run in tasks of their own.
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
};

const mebibyte = 2 ** 20;

const growth = async (body: () => Promise<void>): Promise<number> => {
  await collect();
  const before = currentMemoryBytes();
  await body();
  await collect();
  return (currentMemoryBytes() - before) / mebibyte;
};

test.serial("tensors that nobody else holds live until their run has ended", async (t) => {
  const session = await OrtSession.create({ model: doubling, threads: 1 });
  for (let i = 0; i < 30; i++) {
    const size = i % 2 === 0 ? 3 : 200_000;
    const given = i % 3 === 0 ? {} : { y: Tensor.zeros("float32", [size]) };
    const run = session.run({ x: filled(size, i) }, given);
    globalThis.gc?.();
    // What was freed too early would be handed out again here.
    const noise = Array.from({ length: 20 }, () => new Float32Array(size).fill(-1));
    const { y } = await run;
    globalThis.gc?.();
    t.true(y?.data.every((value) => value === 2 * i) && noise.length === 20, `run ${i}`);
  }
});

test.serial("a run after its bound tensors were collected binds the new ones", async (t) => {
  const session = await OrtSession.create({ model: doubling, threads: 1 });
  for (let i = 0; i < 10; i++) {
    await session.run({ x: filled(1000, i) }, { y: Tensor.zeros("float32", [1000]) });
    await collect();
  }
  const { y } = await session.run({ x: filled(1000, 7) });
  t.true(y?.data.every((value) => value === 14));
});

test.serial("tensors and the session may be disposed during a run", async (t) => {
  for (let i = 0; i < 10; i++) {
    const session = await OrtSession.create({ model: doubling, threads: 1 });
    const first = (await session.run({ x: filled(300_000, 1) })).y;
    if (first === undefined) return t.fail();
    const run = session.run({ x: first });
    first.dispose();
    session.dispose();
    t.throws(() => first.data, { instanceOf: RangeError });
    const refused = session.run({ x: filled(1, 1) });
    await t.throwsAsync(refused, { instanceOf: RangeError, message: /disposed/ });
    const { y } = await run;
    t.true(y?.data.every((value) => value === 4));
  }
  return undefined;
});

test.serial("a session that nobody holds ends after its run", async (t) => {
  let session: OrtSession | undefined = await OrtSession.create({ model: doubling, threads: 1 });
  const run = session.run({ x: filled(300_000, 3) });
  session = undefined;
  await collect();
  t.true((await run).y?.data.every((value) => value === 6));
  await collect();
});

test.serial("the array of an output keeps its memory, disposed or dropped", async (t) => {
  const session = await OrtSession.create({ model: doubling, threads: 1 });
  const arrays: ArrayLike<unknown>[] = [];
  for (let i = 0; i < 50; i++) {
    const { y } = await session.run({ x: filled(5000, i) });
    if (y) arrays.push(y.data);
    if (i % 10 === 0) await collect();
  }
  session.dispose();
  await collect();
  arrays.forEach((array, i) => t.true(array.length === 5000 && array[4999] === 2 * i));

  const other = await OrtSession.create({ model: doubling, threads: 1 });
  const { y } = await other.run({ x: filled(5000, 1) });
  const [data, view] = [y?.data, y?.view(10, [2])];
  y?.dispose();
  view?.dispose();
  other.dispose();
  await collect();
  t.true(data?.length === 5000 && data.every((value) => value === 2));
});

test.serial("outputs of many runs do not add up, disposed or dropped", async (t) => {
  const session = await OrtSession.create({ model: doubling, threads: 1 });
  const x = filled(mebibyte, 1); // 4 MiB
  await session.run({ x });
  const disposed = await growth(async () => {
    for (let i = 0; i < 100; i++) (await session.run({ x })).y?.dispose();
  });
  const dropped = await growth(async () => {
    for (let i = 0; i < 100; i++) {
      const { y } = await session.run({ x });
      if (y?.data[0] !== 2) t.fail();
      if (i % 10 === 0) await collect();
    }
  });
  t.true(disposed < 16 && dropped < 80, `${disposed} and ${dropped} MiB; 400 MiB were made`);
});

test.serial("500 sessions made and released do not add up", async (t) => {
  const once = async (dispose: boolean): Promise<void> => {
    const session = await OrtSession.create({ model: doubling, threads: 2 });
    const { y } = await session.run({ x: filled(1000, 1) });
    if (!dispose) return;
    // Left to the collector, an output keeps the memory pool of its session.
    y?.dispose();
    session.dispose();
  };
  for (let i = 0; i < 50; i++) await once(true);
  const disposed = await growth(async () => {
    for (let i = 0; i < 400; i++) await once(true);
  });
  const dropped = await growth(async () => {
    for (let i = 0; i < 100; i++) {
      await once(false);
      if (i % 10 === 0) await collect();
    }
  });
  // A session with its two threads takes about 1 MiB.
  t.true(disposed < 16 && dropped < 32, `${disposed} and ${dropped} MiB`);
});

/** This process's share of its memory, in MiB: what no file backs, and what a file does. */
const proportionalMemory = async (): Promise<{ anonymous: number; file: number }> => {
  const text = await readFile("/proc/self/smaps_rollup", "utf8");
  const read = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) / 1024;
  return { anonymous: read("Pss_Anon"), file: read("Pss_File") };
};

const makeWeights = async (t: ExecutionContext, size: number): Promise<string> => {
  const path = join(await makeTempFolder(t), "weights.bin");
  await writeFile(path, new Uint8Array(new Float32Array(size * size).fill(1).buffer));
  return path;
};

test.serial("three sessions share one copy of mapped weights", async (t) => {
  if (process.platform !== "linux") return t.pass("reads /proc");
  const size = 4096; // 64 MiB
  const file = MappedFile.open(await makeWeights(t, size));
  const w = Tensor.fromMapped(file, 0, "float32", [size, size]);
  const model = tinyModel({
    inputs: [{ name: "x", dtype: "float32", shape: ["n", size] }],
    outputs: [{ name: "y", dtype: "float32", shape: ["n", size] }],
    weights: [{ name: "w", dtype: "float32", shape: [size, size] }],
    nodes: [
      {
        op: "FusedMatMul",
        inputs: ["x", "w"],
        outputs: ["y"],
        attributes: { transB: 1 },
        domain: "com.microsoft",
      },
    ],
  });
  const x = Tensor.fromArray("float32", [1, size], new Float32Array(size).fill(1));
  const before = await proportionalMemory();
  const sessions: OrtSession[] = [];
  for (let i = 0; i < 3; i++) {
    const session = await OrtSession.create({ model, initializers: { w }, threads: 1 });
    t.is((await session.run({ x })).y?.data[0], size);
    sessions.push(session);
  }
  const after = await proportionalMemory();
  const [anonymous, mapped] = [after.anonymous - before.anonymous, after.file - before.file];
  t.true(anonymous < 24 && mapped < 80, `${anonymous} anonymous, ${mapped} of files, in MiB`);
  t.log(`three sessions: ${anonymous.toFixed(1)} MiB anonymous, ${mapped.toFixed(1)} of the file`);
  for (const session of sessions) session.dispose();
  return undefined;
});

test.serial("timers tick while a run goes on", async (t) => {
  const session = await OrtSession.create({ model: chainModel(256, 400), threads: 1 });
  const x = Tensor.zeros("float32", [256, 256]);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 2);
  const begin = performance.now();
  await session.run({ x, w: x });
  clearInterval(timer);
  const elapsedMs = performance.now() - begin;
  t.true(ticks > 3, `${ticks} ticks in ${elapsedMs} ms`);
});

test.serial("a signal ends a run, and the session goes on", async (t) => {
  const session = await OrtSession.create({ model: chainModel(256, 2000), threads: 1 });
  const x = Tensor.zeros("float32", [256, 256]);
  let begin = performance.now();
  await session.run({ x, w: x });
  const wholeMs = performance.now() - begin;
  for (let i = 0; i < 2; i++) {
    const controller = new AbortController();
    const reason = new Error("enough");
    begin = performance.now();
    const run = session.run({ x, w: x }, {}, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    t.is(await t.throwsAsync(run), reason);
    const endedMs = performance.now() - begin;
    t.true(endedMs < wholeMs / 2, `${endedMs} of ${wholeMs} ms`);
    await t.throwsAsync(session.run({ x, w: x }, {}, { signal: AbortSignal.abort(reason) }), {
      is: reason,
    });
  }
  const { signal } = new AbortController();
  t.deepEqual((await session.run({ x, w: x }, {}, { signal })).y?.shape, [256, 256]);
});

test("peakMemoryBytes is at least currentMemoryBytes, in bytes", (t) => {
  t.true(currentMemoryBytes() > 20 * mebibyte);
  t.true(peakMemoryBytes() >= currentMemoryBytes() * 0.99);
});
