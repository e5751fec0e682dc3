import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { allocate, dtypes, type DType } from "../../src/core/dtype.js";
import { OrtError } from "../../src/runtime/ort/ort-error.js";
import { runtimeVersion } from "../../src/runtime/ort/version.js";
import { OrtSession } from "../../src/runtime/ort/session.js";
import type { SessionOptions } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyModel, type Dimension, type TinyNode, type TinyPort } from "../support/tiny-onnx.js";

const port = (name: string, shape: readonly Dimension[], dtype: DType = "float32"): TinyPort => ({
  name,
  dtype,
  shape,
});
const node = (
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Record<string, number> = {},
): TinyNode => ({ op, inputs, outputs, attributes });

const float32 = (shape: readonly number[], ...values: number[]): Tensor =>
  Tensor.fromArray("float32", shape, Float32Array.from(values));

/** y = 2 x, with x of [rows, 2]. */
const doubling = tinyModel({
  inputs: [port("x", ["rows", 2])],
  outputs: [port("y", ["rows", 2])],
  nodes: [node("Add", ["x", "x"], ["y"])],
});

/** y = x w, with w [2, 2] left open. */
const weighted = tinyModel({
  inputs: [port("x", ["rows", 2])],
  outputs: [port("y", ["rows", 2])],
  weights: [port("w", [2, 2])],
  nodes: [node("MatMul", ["x", "w"], ["y"])],
});

const create = (model: Uint8Array, options: Partial<SessionOptions> = {}): Promise<OrtSession> =>
  OrtSession.create({ model, threads: 1, ...options });

for (const sync of [false, true])
  test(`run computes every output, ${sync ? "on this thread" : "on another thread"}`, async (t) => {
    const session = await create(doubling);
    t.deepEqual(session.inputNames, ["x"]);
    t.deepEqual(session.outputNames, ["y"]);
    const { y } = await session.run({ x: float32([2, 2], 1, 2, 3, 4) }, {}, { sync });
    t.deepEqual(y?.shape, [2, 2]);
    t.deepEqual(y?.data, Float32Array.of(2, 4, 6, 8));
  });

test("run serves other shapes of the same session", async (t) => {
  const session = await create(doubling);
  for (const rows of [3, 1, 0, 5, 3]) {
    const x = Float32Array.from({ length: rows * 2 }, (_, i) => i);
    const { y } = await session.run({ x: Tensor.fromArray("float32", [rows, 2], x) });
    t.deepEqual(y?.shape, [rows, 2]);
    t.deepEqual(
      y?.data,
      x.map((value) => value * 2),
    );
  }
});

test("run writes outputs that are given, and makes the others", async (t) => {
  const model = tinyModel({
    inputs: [port("x", ["n"])],
    outputs: [port("a", ["n"]), port("b", ["n"]), port("c", ["n"])],
    nodes: [
      node("Neg", ["x"], ["a"]),
      node("Add", ["x", "x"], ["b"]),
      node("Mul", ["x", "x"], ["c"]),
    ],
  });
  const session = await create(model);
  const x = float32([2], 3, 4);
  const given = Tensor.zeros("float32", [2]);
  // The same session, with each choice of given outputs in turn.
  for (const name of ["b", "a", "c", "b"] as const) {
    given.data.fill(0 as never);
    const result = await session.run({ x }, { [name]: given });
    t.is(result[name], given);
    t.deepEqual(
      [result.a?.data, result.b?.data, result.c?.data],
      [Float32Array.of(-3, -4), Float32Array.of(6, 8), Float32Array.of(9, 16)],
    );
  }
});

test("run updates a tensor in place where it is input and output", async (t) => {
  const session = await create(doubling);
  const x = float32([1, 2], 1, 3);
  for (let i = 0; i < 10; i++) await session.run({ x }, { y: x }, { sync: i % 2 === 0 });
  t.deepEqual(x.data, Float32Array.of(1024, 3072));
});

test("run reads and writes views of one flat tensor", async (t) => {
  const session = await create(doubling);
  const flat = float32([8], 0, 1, 2, 3, 0, 0, 0, 0);
  await session.run({ x: flat.view(0, [2, 2]) }, { y: flat.view(4, [2, 2]) });
  const last = flat.view(6, [1, 2]);
  await session.run({ x: last }, { y: last });
  t.deepEqual(flat.data, Float32Array.of(0, 1, 2, 3, 0, 2, 8, 12));
});

test("run sees what was written to a bound tensor since the last run", async (t) => {
  const session = await create(doubling);
  const [x, y] = [float32([1, 2], 1, 2), Tensor.zeros("float32", [1, 2])];
  await session.run({ x }, { y });
  x.data.set(Float32Array.of(5, 6) as never);
  await session.run({ x }, { y });
  t.deepEqual(y.data, Float32Array.of(10, 12));
});

test("runs of one session may overlap", async (t) => {
  const session = await create(doubling);
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, i) => session.run({ x: float32([1, 2], i, -i) })),
  );
  results.forEach(({ y }, i) => t.deepEqual(y?.data, Float32Array.of(2 * i, -2 * i)));
});

for (const dtype of Object.keys(dtypes) as DType[])
  test(`run passes ${dtype} through, bit by bit`, async (t) => {
    const model = tinyModel({
      inputs: [port("x", ["n"], dtype)],
      outputs: [port("y", ["n"], dtype), port("z", ["n"], dtype)],
      nodes: [node("Identity", ["x"], ["y"]), node("Concat", ["x"], ["z"], { axis: 0 })],
    });
    const data = allocate(dtype, 4);
    // Every bit pattern is a value, NaN payloads among them; bool knows two.
    const bytes = Uint8Array.from({ length: data.byteLength }, (_, i) =>
      dtype === "bool" ? i % 2 : (255 + 37 * i) % 256,
    );
    const memory = new Uint8Array(data.buffer);
    memory.set(bytes);
    const session = await create(model);
    const { y, z } = await session.run({ x: Tensor.fromArray(dtype, [4], data) });
    // A value that is passed through is a copy: the output does not change with the input.
    memory.fill(0);
    for (const output of [y, z])
      t.deepEqual(new Uint8Array(output?.data.slice().buffer ?? new ArrayBuffer(0)), bytes);
  });

test("run passes tensors without elements", async (t) => {
  const model = tinyModel({
    inputs: [port("x", ["n", 3]), port("e", [0])],
    outputs: [port("y", ["n", 3]), port("sum", [1])],
    nodes: [node("Neg", ["x"], ["y"]), node("ReduceSum", ["e"], ["sum"], { keepdims: 1 })],
  });
  const session = await create(model);
  const inputs = { x: Tensor.zeros("float32", [0, 3]), e: Tensor.zeros("float32", [0]) };
  const made = await session.run(inputs);
  t.deepEqual(made.y?.shape, [0, 3]);
  t.is(made.y?.data.length, 0);
  t.deepEqual(made.sum?.data, Float32Array.of(0));
  const y = Tensor.zeros("float32", [0, 3]);
  t.is((await session.run(inputs, { y })).y, y);
});

test("run names every tensor that does not fit, before anything is computed", async (t) => {
  const model = tinyModel({
    inputs: [port("ids", ["batch", "seq"], "int64"), port("mask", ["batch", "seq"])],
    outputs: [port("out", ["batch", "seq"])],
    nodes: [node("Cast", ["ids"], ["f"], { to: 1 }), node("Mul", ["f", "mask"], ["out"])],
  });
  const session = await create(model);
  const [ids, mask] = [Tensor.zeros("int64", [2, 3]), Tensor.zeros("float32", [2, 3])];
  const fails = async (
    inputs: Record<string, unknown>,
    outputs: Record<string, unknown>,
    instanceOf: new () => Error,
    message: RegExp,
  ): Promise<void> => {
    const run = session.run(inputs as Record<string, Tensor>, outputs as Record<string, Tensor>);
    await t.throwsAsync(run, { instanceOf, message });
  };
  await fails({ ids }, {}, RangeError, /found nothing for input "mask", expected a Tensor/);
  await fails({}, {}, RangeError, /"ids".*\n.*"mask"/);
  await fails({ ids, mask, masc: mask }, {}, RangeError, /found input "masc".*Did you mean "mask"/);
  await fails({ ids, mask: new Float32Array(6) }, {}, TypeError, /found object for input "mask"/);
  await fails(
    { ids: mask, mask: ids },
    {},
    TypeError,
    /found float32 \[2, 3\] for input "ids", expected int64 \[batch, seq\]\n.*found int64 \[2, 3\] for input "mask", expected float32/,
  );
  await fails(
    { ids, mask: Tensor.zeros("float32", [2]) },
    {},
    RangeError,
    /found float32 \[2\] for input "mask", expected float32 \[batch, seq\] with batch = 2, seq = 3/,
  );
  await fails(
    { ids, mask: Tensor.zeros("float32", [2, 4]) },
    {},
    RangeError,
    /found float32 \[2, 4\] for input "mask"/,
  );
  await fails(
    { ids, mask },
    { out: Tensor.zeros("float32", [2, 4]) },
    RangeError,
    /found float32 \[2, 4\] for output "out", expected float32 \[batch, seq\]/,
  );
  await fails(
    { ids, mask },
    { out: Tensor.zeros("float32", [3, 3]) },
    RangeError,
    /with batch = 2/,
  );
  await fails(
    { ids, mask },
    { out: Tensor.zeros("float16", [2, 3]) },
    TypeError,
    /found float16 \[2, 3\] for output "out"/,
  );
  await fails({ ids, mask }, { Out: mask }, RangeError, /found output "Out".*Did you mean "out"/);
  const disposed = Tensor.zeros("float32", [2, 3]);
  disposed.dispose();
  await fails({ ids, mask: disposed }, {}, RangeError, /found a disposed tensor for input "mask"/);
  t.deepEqual((await session.run({ ids, mask })).out?.shape, [2, 3]);
});

test("run refuses a tensor whose array was transferred away", async (t) => {
  const session = await create(doubling);
  const array = new Float32Array(100);
  const x = Tensor.fromArray("float32", [50, 2], array);
  await session.run({ x });
  structuredClone(array.buffer, { transfer: [array.buffer] });
  await t.throwsAsync(session.run({ x }), { instanceOf: RangeError, message: /transferred away/ });
});

test("a run that fails leaves its session usable", async (t) => {
  const model = tinyModel({
    inputs: [port("x", ["n"]), port("y", ["m"])],
    outputs: [port("z", [null])],
    nodes: [node("Add", ["x", "y"], ["z"])],
  });
  const session = await create(model);
  const x = float32([2], 1, 2);
  const fails = (inputs: Record<string, Tensor>, outputs: Record<string, Tensor>) =>
    t.throwsAsync(session.run(inputs, outputs), { instanceOf: OrtError, message: /ONNX Runtime/ });
  for (let i = 0; i < 3; i++) {
    const error = await fails({ x, y: Tensor.zeros("float32", [3]) }, {});
    t.regex(error?.message ?? "", /Add/);
    // What the model does not say, the runtime finds out.
    await fails({ x, y: x }, { z: Tensor.zeros("float32", [5]) });
    t.deepEqual((await session.run({ x, y: x })).z?.data, Float32Array.of(2, 4));
  }
});

test("create gives external initializers to the model in place", async (t) => {
  const w = float32([2, 2], 0, 1, 1, 0);
  const session = await create(weighted, { initializers: { w } });
  const x = float32([1, 2], 3, 4);
  t.deepEqual((await session.run({ x })).y?.data, Float32Array.of(4, 3));
  w.data[0] = 1;
  t.deepEqual((await session.run({ x })).y?.data, Float32Array.of(7, 3));
});

test("an initializer may be disposed while its session lives", async (t) => {
  const w = float32([2, 2], 0, 1, 1, 0);
  const session = await create(weighted, { initializers: { w } });
  w.dispose();
  globalThis.gc?.();
  t.deepEqual((await session.run({ x: float32([1, 2], 3, 4) })).y?.data, Float32Array.of(4, 3));
  session.dispose();
  await t.throwsAsync(create(weighted, { initializers: { w } }), { message: /disposed/ });
});

test("create names every initializer that does not fit", async (t) => {
  const model = tinyModel({
    inputs: [port("x", ["n", 2])],
    outputs: [port("y", ["n", 2])],
    weights: [port("layer.w", [2, 2]), port("layer.b", [2], "float16")],
    nodes: [
      node("MatMul", ["x", "layer.w"], ["p"]),
      node("Cast", ["layer.b"], ["b"], { to: 1 }),
      node("Add", ["p", "b"], ["y"]),
    ],
  });
  const fails = (
    initializers: Record<string, Tensor>,
    instanceOf: new () => Error,
    message: RegExp,
  ) => t.throwsAsync(create(model, { initializers }), { instanceOf, message });
  const [w, b] = [Tensor.zeros("float32", [2, 2]), Tensor.zeros("float16", [2])];
  await fails({}, RangeError, /initializer "layer\.w".*\n.*initializer "layer\.b"/);
  await fails({ "layer.w": w, "layer.bb": b }, RangeError, /"layer\.bb".*Did you mean "layer\.b"/);
  await fails(
    { "layer.w": b, "layer.b": w },
    TypeError,
    /found float16 \[2\] for initializer "layer\.w", expected float32 \[2, 2\]\n/,
  );
  await fails(
    { "layer.w": Tensor.zeros("float32", [2, 3]), "layer.b": b },
    RangeError,
    /found float32 \[2, 3\] for initializer "layer\.w"/,
  );
  await t.throwsAsync(create(doubling, { initializers: { w } }), {
    message: /external initializer "w"/,
  });
});

for (const dtype of ["bfloat16", "float16"] as const)
  test(`a ${dtype} weight is cast in each run, not folded while loading`, async (t) => {
    const model = tinyModel({
      inputs: [port("x", ["n", 2])],
      outputs: [port("y", ["n", 2])],
      weights: [port("w", [2, 2], dtype)],
      nodes: [node("Cast", ["w"], ["wide"], { to: 1 }), node("MatMul", ["x", "wide"], ["y"])],
    });
    const one = dtype === "bfloat16" ? 0x3f80 : 0x3c00;
    const w = Tensor.fromArray(dtype, [2, 2], Uint16Array.of(0, one, one, 0));
    const session = await create(model, { initializers: { w } });
    const x = float32([1, 2], 3, 4);
    t.deepEqual((await session.run({ x })).y?.data, Float32Array.of(4, 3));
    // Folded, it would not see this.
    w.data[0] = one;
    t.deepEqual((await session.run({ x })).y?.data, Float32Array.of(7, 3));
    // An optimizer that does fold fails instead of folding the placeholder.
    await t.throwsAsync(create(model, { initializers: { w }, disabledOptimizers: [] }), {
      instanceOf: RangeError,
      message: /found initializer "w" read while loading/,
    });
  });

// Serial: it changes the environment of the process.
test.serial("create leaves no placeholder behind", async (t) => {
  const folder = await makeTempFolder(t);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    await create(weighted, { initializers: { w: Tensor.zeros("float32", [2, 2]) } });
    await create(weighted, {}).catch(() => undefined);
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
  t.deepEqual(await readdir(folder), []);
});

test("create takes options of every kind, and the numbers stay", async (t) => {
  const x = float32([1, 2], 3, 4);
  const w = float32([2, 2], 0, 1, 1, 0);
  const variants: Partial<SessionOptions>[] = [
    { prepack: true },
    { arena: false },
    { memoryPattern: true },
    { threads: 2 },
    { optimization: "none" },
    { optimization: "basic" },
    { optimization: "extended" },
    { disabledOptimizers: ["ConstantFolding", "MatMulAddFusion"] },
  ];
  for (const variant of variants) {
    const session = await create(weighted, { initializers: { w }, ...variant });
    for (let i = 0; i < 3; i++)
      t.deepEqual((await session.run({ x })).y?.data, Float32Array.of(4, 3));
    session.dispose();
  }
  for (const threads of [0, -1, 1.5])
    await t.throwsAsync(create(doubling, { threads }), { instanceOf: RangeError });
});

test("a profile is written when the session is disposed", async (t) => {
  const folder = await makeTempFolder(t);
  const session = await create(doubling, { profile: join(folder, "step") });
  await session.run({ x: float32([1, 2], 1, 2) });
  session.dispose();
  const [name = ""] = await readdir(folder);
  t.regex(name, /^step.*\.json$/);
  t.regex(await readFile(join(folder, name), "utf8"), /"op_name"\s*:\s*"Add"/);
});

test("dispose ends a session, not its outputs", async (t) => {
  const session = await create(doubling);
  const { y } = await session.run({ x: float32([1, 2], 1, 2) });
  session.dispose();
  session.dispose();
  t.deepEqual(y?.data, Float32Array.of(2, 4));
  await t.throwsAsync(session.run({ x: float32([1, 2], 1, 2) }), {
    instanceOf: RangeError,
    message: /found it disposed/,
  });
});

test("runtimeVersion says which library is there", (t) => {
  t.regex(runtimeVersion(), /^1\.\d+\.\d+$/);
});

test("create refuses bytes that are no model", async (t) => {
  for (const bytes of [[], [0], [1, 2, 3], [0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]])
    await t.throwsAsync(create(Uint8Array.from(bytes)), {
      instanceOf: RangeError,
      message: /Cannot read a model of \d+ bytes/,
    });
  await t.throwsAsync(create(doubling.subarray(0, doubling.length - 20)), { instanceOf: Error });
});

test("create refuses what the runtime has no kernel for", async (t) => {
  const model = tinyModel({
    inputs: [port("x", [2])],
    outputs: [port("y", [2])],
    nodes: [node("NoSuchOp", ["x"], ["y"])],
  });
  await t.throwsAsync(create(model), { instanceOf: OrtError, message: /NoSuchOp/ });
});

test("create and run survive models with any byte changed", async (t) => {
  // Xorshift, so that a failure comes back.
  let state = 1;
  const next = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  let [made, refused] = [0, 0];
  for (let i = 0; i < 300; i++) {
    const model = weighted.slice();
    for (let n = next(3); n >= 0; n--) model[next(model.length)] = next(256);
    try {
      const initializers = { w: Tensor.zeros("float32", [2, 2]) };
      const session = await create(model, { initializers });
      made++;
      await session
        .run({ x: Tensor.zeros("float32", [3, 2]) })
        .catch((error: unknown) => t.true(error instanceof Error));
      session.dispose();
    } catch (error) {
      refused++;
      t.true(error instanceof Error);
    }
  }
  t.true(made > 10 && refused > 10, `${made} made, ${refused} refused`);
});
