import test from "ava";
import { dtypes, type DType, type TypedArray } from "../../src/core/dtype.js";
import { Tensor } from "../../src/runtime/tensor.js";

test("Tensor.fromArray shares memory with its array", (t) => {
  const array = Float32Array.of(1, 2, 3, 4, 5, 6);
  const tensor = Tensor.fromArray("float32", [2, 3], array);
  t.is(tensor.data, array);
  t.deepEqual(tensor.shape, [2, 3]);
  t.is(tensor.byteLength, 24);
  t.is(tensor.place, "host");
});

test("Tensor.fromArray takes an array that begins inside its buffer", (t) => {
  const buffer = new ArrayBuffer(64);
  const array = new Float32Array(buffer, 8, 3);
  Tensor.fromArray("float32", [3], array).data[1] = 7;
  t.is(new Float32Array(buffer)[3], 7);
});

test("Tensor.fromArray refuses an array of another type, naming both", (t) => {
  const wrong = (dtype: DType, array: unknown): void => {
    Tensor.fromArray(dtype, [2], array as TypedArray);
  };
  t.throws(() => wrong("float32", new Float64Array(2)), {
    instanceOf: TypeError,
    message: /found Float64Array, expected Float32Array/,
  });
  t.throws(() => wrong("bfloat16", new Float32Array(2)), { message: /expected Uint16Array/ });
  t.throws(() => wrong("float32", [1, 2]), { message: /found Array/ });
  t.throws(() => wrong("float32", new ArrayBuffer(8)), { message: /found ArrayBuffer/ });
  t.throws(() => wrong("float32", null), { message: /found null/ });
  t.throws(() => wrong("float8" as DType, new Uint8Array(2)), {
    instanceOf: TypeError,
    message: /found dtype "float8", expected one of float32/,
  });
});

test("Tensor.fromArray refuses a length that is not the shape's", (t) => {
  t.throws(() => Tensor.fromArray("float32", [2, 3], new Float32Array(5)), {
    instanceOf: RangeError,
    message: /shape \[2, 3\]: found 5 elements, expected 6/,
  });
});

for (const shape of [[-1], [1.5], [NaN], [2 ** 40, 2 ** 40]])
  test(`Tensor.zeros refuses the shape [${shape.join(", ")}]`, (t) => {
    t.throws(() => Tensor.zeros("float32", shape), {
      instanceOf: RangeError,
      message: /expected whole numbers/,
    });
  });

for (const dtype of Object.keys(dtypes) as DType[])
  test(`Tensor.zeros makes ${dtype}`, (t) => {
    const { data, byteLength } = Tensor.zeros(dtype, [2, 2]);
    t.is(byteLength, 4 * dtypes[dtype].bytes);
    t.true([...data].every((value) => Number(value) === 0) && data.length === 4);
  });

test("Tensor.zeros makes tensors of no elements and of no dimensions", (t) => {
  t.is(Tensor.zeros("float32", [0, 3]).data.length, 0);
  t.is(Tensor.zeros("float32", []).data.length, 1);
});

test("Tensor.view aliases a stretch of its parent, also of another view", (t) => {
  const flat = Tensor.zeros("float32", [10]);
  const view = flat.view(2, [2, 3]);
  view.data.set(Float32Array.of(1, 2, 3, 4, 5, 6) as never);
  view.view(3, [3]).data[0] = 40;
  t.deepEqual([...flat.data], [0, 0, 1, 2, 3, 40, 5, 6, 0, 0]);
});

test("Tensor.view refuses what lies outside its parent", (t) => {
  const flat = Tensor.zeros("float32", [10]);
  for (const [offset, shape] of [
    [8, [3]],
    [-1, [1]],
    [0.5, [1]],
    [11, [0]],
  ] as const)
    t.throws(() => flat.view(offset, shape), { instanceOf: RangeError, message: /within 10/ });
  t.is(flat.view(10, [0]).data.length, 0);
});

test("Tensor.dispose ends a tensor, not its views or its array", (t) => {
  const array = Float32Array.of(1, 2, 3);
  const tensor = Tensor.fromArray("float32", [3], array);
  const view = tensor.view(1, [2]);
  tensor.dispose();
  tensor.dispose();
  t.throws(() => tensor.data, { instanceOf: RangeError, message: /found it disposed/ });
  t.throws(() => tensor.view(0, [1]), { instanceOf: RangeError, message: /found it disposed/ });
  t.deepEqual([...view.data], [2, 3]);
  t.deepEqual([...array], [1, 2, 3]);
});

test("Tensor.copyFrom copies bits, NaN payloads too", (t) => {
  const bits = Uint32Array.of(0x7fc0dead, 0xffa00001, 0x80000000, 1);
  const source = Tensor.fromArray("float32", [4], new Float32Array(bits.buffer));
  const target = Tensor.zeros("float32", [4]);
  target.copyFrom(source);
  t.deepEqual([...new Uint32Array(target.data.buffer)], [...bits]);
  t.throws(() => target.copyFrom(Tensor.zeros("float32", [2, 2])), {
    instanceOf: RangeError,
    message: /found float32 \[2, 2\], expected float32 \[4\]/,
  });
  t.throws(() => target.copyFrom(Tensor.zeros("int32", [4])), { instanceOf: RangeError });
});
