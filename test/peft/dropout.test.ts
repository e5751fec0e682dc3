import { cpuHasKernel } from "../../src/runtime/devices/cpu.js";
import test from "ava";
import { randomStream } from "../../src/core/random.js";
import { UserError } from "../../src/core/errors.js";
import { Graph } from "../../src/graph/graph.js";
import type { Value } from "../../src/graph/op.js";
import { lower } from "../../src/graph/passes/lower.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import {
  attentionDropout,
  drawDropoutKeys,
  keepThreshold,
  moduleDropout,
  moduleKeys,
  noDropout,
  type Dropout,
  type DropoutDraw,
} from "../../src/models/blocks/dropout.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { peftMethods } from "../../src/peft/registry.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { defaultAdapterSettings, defaultMethodOptions } from "../support/adapter-settings.js";
import { float32, runGraph } from "../support/run-graph.js";
import { largestDifference } from "../support/adapted-model.js";

const [ROWS, WIDTH, RATE] = [600, 64, 0.3];
const first: DropoutDraw = { seed: 7, step: 3, microBatch: 0 };

/** x' of a module with all elements of x at 1: the mask. */
const maskOf = async (path: string, draw: DropoutDraw, rate = RATE): Promise<Float32Array> => {
  const keys = drawDropoutKeys(draw, { rows: ROWS, width: WIDTH });
  const g = new Graph();
  const x = g.input("x", "float32", ["rows", WIDTH]);
  const rows = g.input("rows", "int32", ["rows", 2]);
  const columns = g.input("columns", "int32", [2, WIDTH]);
  g.output("y", moduleDropout(g, { rows: () => rows, columns }, { path, rate }).apply(x));
  const { y } = await runGraph(g, {
    x: float32([ROWS, WIDTH], new Float32Array(ROWS * WIDTH).fill(1)),
    rows: Tensor.fromArray("int32", [ROWS, 2], keys.rows),
    columns: Tensor.fromArray("int32", [2, WIDTH], keys.columns),
  });
  return y as Float32Array;
};

test("the mask is the formula's in 32-bit arithmetic that wraps, and the same every time", async (t) => {
  const path = "model.layers.3.mlp.up_proj";
  const { rows, columns } = drawDropoutKeys(first, { rows: ROWS, width: WIDTH });
  const [k0, k1] = moduleKeys(path);
  const expected = new Float32Array(ROWS * WIDTH);
  for (let r = 0; r < ROWS; r++)
    for (let c = 0; c < WIDTH; c++) {
      const a = (rows[2 * r]! + Math.imul(k0, columns[c]!)) | 0;
      const b = (rows[2 * r + 1]! + Math.imul(k1, columns[WIDTH + c]!)) | 0;
      expected[r * WIDTH + c] = Number(Math.imul(a, b) <= keepThreshold(RATE));
    }
  t.deepEqual(await maskOf(path, first), expected);
  t.deepEqual(await maskOf(path, first), expected);
});

test("the mask of attention has a head's keys for a module's, and drops its share in every head", async (t) => {
  const [batch, kvHeads, group, seq, width] = [2, 2, 3, 40, 48];
  const { rows, columns } = drawDropoutKeys(first, { rows: batch * seq, width });
  const shape = [batch, kvHeads, group, seq, seq];
  const size = batch * kvHeads * group * seq * seq;
  const g = new Graph();
  const keys = {
    queries: g.input("rows", "int32", ["batch", "seq", 2]),
    columns: g.input("columns", "int32", [2, width]),
    slots: g.input("slots", "int64", ["seq"]),
  };
  const x = g.input("x", "float32", ["batch", kvHeads, group, "seq", "seq"]);
  g.output("y", attentionDropout(g, keys, { path: "attention:1", rate: RATE }).apply(x));
  const slots = BigInt64Array.from({ length: seq }, (_, i) => BigInt(i));
  const { y } = await runGraph(g, {
    x: float32(shape, new Float32Array(size).fill(1)),
    rows: Tensor.fromArray("int32", [batch, seq, 2], rows),
    columns: Tensor.fromArray("int32", [2, width], columns),
    slots: Tensor.fromArray("int64", [seq], slots),
  });
  const heads = Array.from({ length: kvHeads * group }, (): number[] => []);
  const expected: number[] = [];
  for (let row = 0; row < batch; row++)
    for (const [head, masks] of heads.entries()) {
      const [k0, k1] = moduleKeys(`attention:1:head ${String(head)}`);
      for (let query = 0; query < seq; query++)
        for (let slot = 0; slot < seq; slot++) {
          const at = 2 * (row * seq + query);
          const a = (rows[at]! + Math.imul(k0, columns[slot]!)) | 0;
          const b = (rows[at + 1]! + Math.imul(k1, columns[width + slot]!)) | 0;
          const kept = Number(Math.imul(a, b) <= keepThreshold(RATE));
          expected.push(kept);
          masks.push(kept);
        }
    }
  t.deepEqual(y, Float32Array.from(expected));
  const bound = 5 / Math.sqrt(size / heads.length);
  for (const [i, mask] of heads.entries()) {
    const kept = mask.reduce((sum, value) => sum + value, 0) / mask.length;
    t.true(Math.abs(kept - (1 - RATE)) < bound * Math.sqrt(RATE * (1 - RATE)), String(kept));
    for (const other of heads.slice(i + 1))
      t.true(
        Math.abs(correlation(Float32Array.from(mask), Float32Array.from(other))) < bound,
        `head ${String(i)}`,
      );
  }
});

/** The correlation of two masks. */
const correlation = (a: Float32Array, b: Float32Array): number => {
  const mean = (x: Float32Array) => x.reduce((sum, value) => sum + value, 0) / x.length;
  const [ma, mb] = [mean(a), mean(b)];
  const product = mean(a.map((value, i) => (value - ma) * ((b[i] ?? NaN) - mb)));
  return product / Math.sqrt(ma * (1 - ma) * mb * (1 - mb));
};

test("a share of rate is dropped, and masks of other steps, micro-batches, seeds and modules are unrelated", async (t) => {
  const mask = await maskOf("a", first);
  const size = ROWS * WIDTH;
  // Five standard deviations.
  const kept = mask.reduce((sum, value) => sum + value, 0) / size;
  t.true(Math.abs(kept - (1 - RATE)) < 5 * Math.sqrt((RATE * (1 - RATE)) / size), String(kept));
  const others = [
    await maskOf("a", { ...first, step: 4 }),
    await maskOf("a", { ...first, microBatch: 1 }),
    await maskOf("a", { ...first, seed: 8 }),
    await maskOf("b", first),
    // The same mask, moved by a row and by a column.
    Float32Array.from(mask, (_, i) => mask[(i + WIDTH) % size]!),
    Float32Array.from(mask, (_, i) => mask[(i + 1) % size]!),
  ];
  for (const [i, other] of others.entries()) {
    const found = correlation(mask, other);
    t.true(Math.abs(found) < 5 / Math.sqrt(size), `${String(i)}: ${String(found)}`);
  }
  // Rows and columns drop as much as each other, and what four corners have in common is nothing.
  for (const [length, stride, step] of [
    [WIDTH, 1, WIDTH],
    [ROWS, WIDTH, 1],
  ] as const)
    for (let line = 0; line < size / length; line++) {
      let sum = 0;
      for (let i = 0; i < length; i++) sum += mask[line * step + i * stride]!;
      const spread = 5.5 * Math.sqrt((RATE * (1 - RATE)) / length);
      t.true(
        Math.abs(sum / length - (1 - RATE)) < spread,
        `line ${String(line)} of ${String(length)}`,
      );
    }
  let corners = 0;
  for (let r = 0; r + 1 < ROWS; r += 2)
    for (let c = 0; c + 1 < WIDTH; c += 2) {
      const at = r * WIDTH + c;
      corners += [0, 1, WIDTH, WIDTH + 1].reduce((p, i) => p * (mask[at + i]! - (1 - RATE)), 1);
    }
  const blocks = size / 4;
  t.true(Math.abs(corners / blocks) < (5 * (RATE * (1 - RATE)) ** 2) / Math.sqrt(blocks));
});

test("x' has the mean x", async (t) => {
  for (const rate of [0.05, 0.5, 0.9]) {
    const mask = await maskOf("a", first, rate);
    const mean = mask.reduce((sum, value) => sum + value, 0) / mask.length / (1 - rate);
    const spread = 5 * Math.sqrt(rate / (1 - rate) / mask.length);
    t.true(Math.abs(mean - 1) < spread, `${String(rate)}: ${String(mean)}`);
  }
});

const module = { path: "layer", inFeatures: 8, outFeatures: 6, bias: true };

/** y of a layer for rows x, with drawn parameters; `B` times `factor` for the part that is dropped. */
const layer = async (
  method: LinearMethod,
  x: Float32Array,
  { mask, rate = 0, parts = 1 }: { mask?: Float32Array; rate?: number; parts?: number } = {},
): Promise<Float32Array> => {
  const options = {
    ...defaultMethodOptions,
    rank: 2,
    additiveRank: 2,
    alpha: 3,
    moraType: 6 as const,
  };
  const specs = method.parameters(module, options);
  const g = new Graph();
  const input = g.input("x", "float32", [4, 8]);
  const drawn = (name: string, shape: readonly number[], factor = 1): Tensor => {
    const stream = randomStream(5, name);
    const size = shape.reduce((n, dim) => n * dim, 1);
    return float32(
      shape,
      Array.from({ length: size }, () => factor * stream.normal()),
    );
  };
  const feeds: Record<string, Tensor> = {
    x: float32([4, 8], x),
    weight: drawn("weight", [6, 8]),
    bias: drawn("bias", [6]),
  };
  const parameters = Object.fromEntries(
    Object.entries(specs).map(([short, { shape }]) => {
      const additive =
        method.name === "hilora" ? short === "loraB" : short === "B" || short === "M";
      feeds[short] = drawn(short, shape, additive ? parts : 1);
      return [short, g.input(short, "float32", shape)];
    }),
  );
  const frozen = {
    weight: g.input("weight", "float32", [6, 8]),
    bias: g.input("bias", "float32", [6]),
    hold: (build: () => Value) => build(),
  };
  const dropout: Dropout = mask
    ? { apply: (z) => g.mul(z, g.constant("float32", [4, 8], mask)), scale: 1 / (1 - rate) }
    : noDropout;
  g.output("y", method.linear(g, input, frozen, parameters, options, dropout));
  return (await runGraph(lower(g, cpuHasKernel), feeds)).y as Float32Array;
};

for (const name of ["lora", "rslora", "dora", "mora", "hilora", "sparse-lora"] as const)
  test(`the adapter's change alone sees the dropped input: ${name}`, async (t) => {
    const method = peftMethods[name];
    const stream = randomStream(9, "x");
    const x = Float32Array.from({ length: 32 }, () => stream.normal());
    const mask = Float32Array.from({ length: 32 }, () => Number(stream.uniform() > 0.25));
    const dropped = x.map((value, i) => (value * mask[i]!) / 0.75);
    const found = await layer(method, x, { mask, rate: 0.25 });

    // y = base(x) + change(x'), where the base is the layer without the part that drops.
    const without = async (z: Float32Array): Promise<Float32Array> => {
      if (name !== "dora") return layer(method, z, { parts: 0 });
      // DoRA's magnitude changes the base too: its base is W0 itself.
      return layer(peftMethods.lora, z, { parts: 0 });
    };
    const [base, changed, baseOfDropped] = [
      await without(x),
      await layer(method, dropped),
      await without(dropped),
    ];
    const expected = base.map((value, i) => value + changed[i]! - baseOfDropped[i]!);
    t.true(largestDifference(found, expected) < 1e-5);
    t.true(largestDifference(found, await layer(method, x)) > 0.1);
  });

test("--lora_dropout is refused where nothing drops: HiRA, virtual tokens, full fine-tuning", async (t) => {
  const { model } = await import("../support/adapted-model.js").then(({ loadTinyBase }) =>
    loadTinyBase(),
  );
  for (const peftType of ["hira", "prefix", "fft"] as const)
    t.throws(
      () => buildAdapter(peftType, model, { ...defaultAdapterSettings, dropout: 0.1 }, new Set()),
      { instanceOf: UserError, message: /Cannot use --lora_dropout=0.1 with --peft_type=/ },
    );
});
