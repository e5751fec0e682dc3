import test from "ava";
import { elementCount } from "../../../src/core/dtype.js";
import { UserError } from "../../../src/core/errors.js";
import { Graph } from "../../../src/graph/graph.js";
import {
  makeTables,
  packWeight,
  partsOf,
  unpackInGraph,
  unpackWeight,
  type Packing,
} from "../../../src/models/weights/packed-weight.js";
import {
  dynamicTable,
  fourBitTypes,
  quantizeAbsmax,
  quantizeFourBit,
  quantizeRows,
} from "../../../src/models/weights/quantize.js";
import { readSafetensorsHeader, readTensorData } from "../../../src/models/weights/safetensors.js";
import { largestDifference } from "../../support/adapted-model.js";
import { runGraph } from "../../support/run-graph.js";

const { entries } = await readSafetensorsHeader(
  new URL("../../fixtures/quantize/bitsandbytes.safetensors", import.meta.url).pathname,
);
const stored = async (name: string) => {
  const entry = entries.get(name);
  if (!entry) throw new RangeError(`no ${name} in the fixture`);
  return { shape: entry.shape, data: await readTensorData(entry) };
};
const numbers = async (name: string) => (await stored(name)).data as Float32Array;

/** Two codes a byte, the first one high: bitsandbytes' order. */
const pairs = (codes: Uint8Array): number[] =>
  Array.from(
    { length: Math.ceil(codes.length / 2) },
    (_, i) => 16 * (codes[2 * i] ?? 0) + (codes[2 * i + 1] ?? 0),
  );

test("dynamicTable is bitsandbytes' 8-bit type bit for bit", async (t) => {
  t.deepEqual([...dynamicTable], [...(await numbers("dynamic_map"))]);
});

for (const prefix of ["", "tail."])
  for (const type of fourBitTypes) {
    test(`quantizeFourBit gives bitsandbytes' codes and absmax: ${prefix}${type}`, async (t) => {
      const { codes, absmax } = quantizeFourBit(await numbers(`${prefix}weight`), type);
      t.deepEqual(pairs(codes), [...(await numbers(`${prefix}${type}.codes`))]);
      t.deepEqual([...absmax], [...(await numbers(`${prefix}${type}.absmax`))]);
    });

    test(`quantizeAbsmax gives bitsandbytes' double quantization: ${prefix}${type}`, async (t) => {
      const { codes, absmax, offset } = quantizeAbsmax(await numbers(`${prefix}${type}.absmax`));
      t.deepEqual([...codes], [...(await numbers(`${prefix}${type}.nested.codes`))]);
      const nested = await numbers(`${prefix}${type}.nested.absmax`);
      t.true(largestDifference(absmax, nested) < 1e-7);
      const [expected = NaN] = await numbers(`${prefix}${type}.nested.offset`);
      // torch adds float32 numbers in another order.
      t.true(Math.abs(offset / expected - 1) < 2e-7);
    });
  }

test("quantizeRows gives bitsandbytes' int8 codes and absmax", async (t) => {
  const { shape, data } = await stored("weight");
  const { codes, absmax } = quantizeRows(data as Float32Array, shape[0] ?? 0);
  t.deepEqual([...codes], [...(await stored("int8.codes")).data]);
  t.deepEqual([...absmax], [...(await numbers("int8.absmax"))]);
});

test("quantizeRows rounds halves to the even number", (t) => {
  const { codes } = quantizeRows(Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5), 1);
  t.deepEqual([...codes], [127, 0, 2, 2, 0, -2]);
});

const packings: Readonly<Record<string, Packing>> = {
  int8: { kind: "int8" },
  nf4: { kind: "4bit", type: "nf4", doubleQuant: false },
  fp4: { kind: "4bit", type: "fp4", doubleQuant: false },
  "nf4 double": { kind: "4bit", type: "nf4", doubleQuant: true },
  "fp4 double": { kind: "4bit", type: "fp4", doubleQuant: true },
};
const reference: Readonly<Record<string, string>> = {
  int8: "int8.values",
  "nf4 double": "nf4.nested.values",
  "fp4 double": "fp4.nested.values",
};

for (const [name, packing] of Object.entries(packings))
  for (const prefix of ["", "tail."])
    test(`unpackInGraph is unpackWeight bit for bit, and bitsandbytes' values within 1e-6: ${prefix}${name}`, async (t) => {
      const { shape, data } = await stored(`${prefix}weight`);
      const tensors = packWeight("w", shape, data as Float32Array, packing);
      const g = new Graph();
      const specs = partsOf(shape, packing);
      const parts = specs.map(({ suffix, dtype, shape: size }) =>
        g.weight(`w${suffix}`, dtype, size),
      );
      g.output(
        "w",
        unpackInGraph(g, parts, shape, packing, (type) => makeTables(g, type)),
      );
      const feeds = Object.fromEntries(specs.map(({ suffix }, i) => [`w${suffix}`, tensors[i]]));
      const { w } = await runGraph(g, feeds as never);
      const unpacked = unpackWeight(tensors, shape, packing);
      t.deepEqual([...(w as Float32Array)], [...unpacked]);
      const expected = entries.has(`${prefix}${reference[name] ?? ""}`)
        ? await numbers(`${prefix}${reference[name] ?? ""}`)
        : undefined;
      if (expected) t.true(largestDifference(unpacked, expected) < 1e-6);
      // Half the widest gap between codes; double quantization moves absmax a little.
      const largest = largestDifference(data as Float32Array, new Float32Array(data.length));
      const gap = { int8: 0.5 / 127, nf4: 0.16, fp4: 0.17 }[name.split(" ")[0] ?? ""] ?? NaN;
      t.true(largestDifference(unpacked, data as Float32Array) <= 1.05 * gap * largest);
    });

test("packWeight holds a matrix in 0.26 of bfloat16's bytes with double quantization", (t) => {
  const shape = [64, 2048];
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(i));
  const bytes = (packing: Packing): number =>
    packWeight("w", shape, values, packing).reduce((sum, { byteLength }) => sum + byteLength, 0);
  const share = (packing: Packing): number => bytes(packing) / (2 * values.length);
  t.is(Math.round(1e4 * share({ kind: "4bit", type: "nf4", doubleQuant: true })) / 1e4, 0.2579);
  t.is(share({ kind: "4bit", type: "nf4", doubleQuant: false }), 0.28125);
  t.true(share({ kind: "int8" }) < 0.51);
});

for (const odd of [NaN, Infinity])
  test(`packWeight refuses ${String(odd)}`, (t) => {
    for (const packing of Object.values(packings)) {
      const error = t.throws(() => packWeight("w", [1, 3], Float32Array.of(1, odd, 2), packing), {
        instanceOf: UserError,
      });
      t.regex(error.message, /Cannot quantize "w": found (NaN|Infinity) among its values/);
    }
  });
