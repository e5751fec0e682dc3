import test from "ava";
import { Graph } from "../../../src/graph/graph.js";
import { blockCodecs } from "../../../src/models/weights/blocks/block-codec.js";
import { readSafetensorsHeader, readTensorData } from "../../../src/models/weights/safetensors.js";
import { dtypes } from "../../../src/core/dtype.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { runGraph } from "../../support/run-graph.js";

const fixture = new URL("../../fixtures/gguf/blocks.safetensors", import.meta.url).pathname;

/** Bytes of a fixture, and the float32 values that the gguf package makes of them. */
const readFixture = async (
  name: string,
): Promise<{ bytes: Uint8Array; values: Float32Array; shape: readonly [number, number] }> => {
  const { entries } = await readSafetensorsHeader(fixture);
  const read = async (suffix: string) => {
    const entry = entries.get(`${name}.${suffix}`);
    if (!entry) throw new RangeError(`the fixture has no ${name}.${suffix}`);
    return { data: await readTensorData(entry), shape: entry.shape };
  };
  const [bytes, values] = [await read("bytes"), await read("values")];
  return {
    bytes: bytes.data as Uint8Array,
    values: values.data as Float32Array,
    shape: values.shape as [number, number],
  };
};

const bitsOf = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

test("blockCodecs has the formats of the gguf package's fixture", (t) => {
  t.deepEqual(
    [...blockCodecs.keys()],
    ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"],
  );
});

for (const [name, codec] of blockCodecs) {
  test(`unpack of ${name} gives the gguf package's values bit for bit`, async (t) => {
    const { bytes, values, shape } = await readFixture(name);
    t.is(codec.byteLength(shape), bytes.length);
    const unpacked = codec.unpack([new Uint16Array(), bytes], shape);
    t.deepEqual(bitsOf(unpacked), bitsOf(values));
  });

  test(`inGraph of ${name} gives the same bits as unpack, of all rows and of some`, async (t) => {
    const { bytes, values, shape } = await readFixture(name);
    const g = new Graph();
    const tensors: Record<string, Tensor> = {};
    const parts = codec.parts(shape).map(({ suffix, dtype, shape: size }) => {
      const { array } = dtypes[dtype];
      const length = size.reduce((a, b) => a * b, 1);
      tensors[suffix] = Tensor.fromArray(
        dtype,
        size,
        new array(bytes.buffer, bytes.byteOffset, length),
      );
      return g.weight(suffix, dtype, size);
    });
    const [rows, columns] = shape;
    g.output("all", codec.inGraph(g, parts, shape));
    const ids = g.input("ids", "int64", ["batch", "seq"]);
    const some = parts.map((part) => g.gather(part, ids, { axis: 0 }));
    g.output("some", codec.inGraph(g, some, ["batch", "seq", columns]));
    tensors.ids = Tensor.fromArray("int64", [1, 3], BigInt64Array.of(2n, 0n, 2n));
    const results = await runGraph(g, tensors);
    t.deepEqual(bitsOf(results.all as Float32Array), bitsOf(values));
    const row = (i: number): number[] => [...bitsOf(values)].slice(i * columns, (i + 1) * columns);
    t.is(rows, 3);
    t.deepEqual([...bitsOf(results.some as Float32Array)], [...row(2), ...row(0), ...row(2)]);
  });

  test(`${name} refuses rows that are no whole blocks`, (t) => {
    t.throws(() => codec.parts([2, 31]), {
      instanceOf: RangeError,
      message: /rows of 31 elements/,
    });
  });
}
