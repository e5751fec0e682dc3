import test from "ava";
import { UserError } from "../../src/core/errors.js";
import type { Precision } from "../../src/core/precision.js";
import type { Graph } from "../../src/graph/graph.js";
import type { Node } from "../../src/graph/op.js";
import { roundProducts } from "../../src/graph/passes/round-products.js";
import { decoderModel } from "../../src/models/blocks/decoder.js";
import type { Adapter } from "../../src/peft/adapter.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { hira } from "../../src/peft/hira.js";
import { normal, zeros } from "../../src/peft/init.js";
import { selectTargets } from "../../src/peft/targets.js";
import type { Device } from "../../src/runtime/device.js";
import {
  openChecked,
  describeCheck,
  firstWrongGradient,
  requireAgreement,
  smallBatch,
  type LossCheck,
} from "../../src/train/device-check.js";
import { deviceBounds, gradientBound } from "../../src/train/device-bounds.js";
import { gradientErrors, largestError } from "../../src/train/gradient-errors.js";
import { createParameterStore } from "../../src/train/parameters.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { honestDevice, lyingDevice } from "../support/lying-device.js";
import { fullAdapter, randomBatch, randomWeights, tinyConfig } from "../support/random-llama.js";

const model = decoderModel(tinyConfig);
const weights = randomWeights(tinyConfig);
const batch = randomBatch(
  [
    { length: 9, context: 4, left: 0, right: 0 },
    { length: 7, context: 2, left: 2, right: 0 },
  ],
  tinyConfig.vocabSize,
);

/** HiRA as it starts: B is zero. */
const started = (targets: string): Adapter =>
  createLinearAdapter(
    hira,
    { rank: 2, initA: normal(0.4), initB: zeros },
    selectTargets(model.linears, targets),
  );

const check = async (
  adapter: Adapter,
  device: Device,
  precision: Precision = "fp32",
): Promise<LossCheck> => {
  const names = new Set(model.tensors.keys());
  const store = createParameterStore(adapter, 1, ({ name }) =>
    names.has(name) ? (weights.tensor(name).data as Float32Array) : undefined,
  );
  const before = [...store.values].map(([name, { data }]) => [name, data.slice()] as const);
  const { session, found } = await openChecked({
    options: {
      model,
      adapter,
      maxPositions: 16,
      chunks: 1,
      gradients: true,
      recomputeLayers: false,
    },
    ...{ weights, store, batch, seed: 3 },
    plan: { device, precision, threads: 1 },
  });
  session.dispose();
  for (const [name, data] of before)
    if (store.values.get(name)?.data.some((x, i) => x !== data[i]))
      throw new Error(`${name} is not what it was`);
  for (const [name, { data }] of store.gradients)
    if (data.some((x) => x !== 0)) throw new Error(`the gradient of ${name} is not zero`);
  return found;
};

const refusal = (found: LossCheck, device: Device): UserError => {
  try {
    requireAgreement(found, { device, precision: "fp32", threads: 1 });
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error("it was believed");
};

const isProductIn = ({ op, scope }: Node, layer: number, path: string): boolean =>
  op.opType.endsWith("MatMul") && scope.includes(`layers.${String(layer)}`) && scope.includes(path);

test("a device that computes as the CPU does is believed, and the parameters are as they were", async (t) => {
  for (const adapter of [started("q_proj,down_proj"), fullAdapter(tinyConfig)]) {
    const found = await check(adapter, honestDevice);
    t.is(found.loss.device, found.loss.cpu);
    t.true(found.gradients.every(({ error, norm }) => error === 0 && norm > 0));
    t.notThrows(() => {
      requireAgreement(found, { device: honestDevice, precision: "fp32", threads: 1 });
    });
  }
});

test("gradients stand in the order in which the graph computes them, from the last layer down", async (t) => {
  const { gradients } = await check(started("q_proj,down_proj"), honestDevice);
  const layers = gradients.map(({ name }) => /layers\.(\d)\.(\w+)/.exec(name)?.slice(1).join());
  t.deepEqual([...new Set(layers)], ["1,mlp", "1,self_attn", "0,mlp", "0,self_attn"]);
});

test("what is wrong in the backward pass of one layer is named by its own gradient, also where B starts at zero", async (t) => {
  const lie = lyingDevice((node) => node.backward && isProductIn(node, 0, "down_proj"));
  const found = await check(started("q_proj,down_proj"), lie);
  const wrong = firstWrongGradient(found);
  t.regex(wrong?.name ?? "", /layers\.0\.mlp\.down_proj/);
  t.true((wrong?.error ?? 0) > 0.1);
  const { message, hint } = refusal(found, lie);
  t.true(message.includes(wrong?.name ?? "?"), message);
  t.regex(message, /a lying device, --precision=fp32.*% away from the CPU's.*at most 0\.1 %/);
  t.regex(message, /loss \d\.\d+, the CPU's \d\.\d+/);
  t.regex(hint ?? "", /--device=cpu.*--skip_device_check/);
});

test("each wrong gradient is seen, whichever parameter it is of", async (t) => {
  const adapter = started("q_proj,down_proj");
  for (const { name } of adapter.parameters) {
    // The sum into which a gradient goes is the last node that only it has.
    const lie = lyingDevice(
      (node) => node.op.opType === "Add" && node.outputs[0]?.id === outputOf.get(name),
    );
    const outputOf = new Map<string, number>();
    const device: Device = {
      ...lie,
      rewrite(graph) {
        for (const [output, { id }] of graph.outputs)
          if (output.startsWith("grad:")) outputOf.set(output.slice(5), id);
        return lie.rewrite?.(graph) ?? graph;
      },
    };
    const found = await check(adapter, device);
    t.deepEqual(
      found.gradients.filter(({ error }) => error > 1e-3).map((each) => each.name),
      [name],
    );
  }
});

test("a wrong loss is refused too, and one that is no number", async (t) => {
  const wrong = await check(
    started("q_proj"),
    lyingDevice((node) => !node.backward && node.op.opType === "ReduceSum", 1.01),
  );
  t.regex(refusal(wrong, honestDevice).message, /loss|gradient/);
  const notANumber = await check(
    started("q_proj"),
    lyingDevice((node) => isProductIn(node, 1, "down_proj"), NaN),
  );
  t.regex(refusal(notANumber, honestDevice).message, /not finite.*loss NaN/);
  t.regex(describeCheck(notANumber), /loss NaN/);
});

test("a gradient that is nothing but rounding is measured against the others", (t) => {
  const expected = new Map([
    ["weight", Float32Array.of(3, 4)],
    ["bias", Float32Array.of(1e-9, 0)],
  ]);
  const found = [
    ["weight", Float32Array.of(3, 4.5)],
    ["bias", Float32Array.of(0, 2e-9)],
  ] as const;
  const [weight, bias] = gradientErrors(found, expected, 1e-3);
  t.deepEqual(weight, { name: "weight", error: 0.1, norm: 5, isSmall: false });
  t.true(bias?.isSmall);
  t.true((bias?.error ?? 1) < 1e-6);
  // One that ought to be rounding and is not.
  const [large] = gradientErrors([["bias", Float32Array.of(1, 0)]], expected, 1e-3);
  t.true((large?.error ?? 0) > 100);
  const bounded = [weight, large].flatMap((each) => (each ? [{ ...each, bound: 1e-3 }] : []));
  t.is(largestError(bounded)?.name, "bias");
});

test("the check's batch is two rows and 64 columns around the first label", (t) => {
  const seq = 300;
  const long: TokenBatch = {
    batch: 4,
    seq,
    inputIds: BigInt64Array.from({ length: 4 * seq }, (_, i) => BigInt(i)),
    attentionMask: new Uint8Array(4 * seq).fill(1),
    labels: Int32Array.from({ length: 4 * seq }, (_, i) => (i % seq < 250 ? -100 : i)),
  };
  const small = smallBatch(long);
  t.deepEqual([small.batch, small.seq], [2, 64]);
  t.is(small.inputIds[0], 218n);
  t.is(small.labels[32], 250);
  t.is(small.inputIds[64], BigInt(seq + 218));
  const classes = smallBatch({ ...long, classes: Int32Array.of(0, 1, 0, 1) });
  t.deepEqual([classes.inputIds[0], classes.seq, classes.classes?.length], [0n, 64, 2]);
});

test("in 16 bits a gradient may be as far away as rounding moves the CPU's own, and no further than its size", async (t) => {
  const bounds = deviceBounds.bf16;
  t.deepEqual(
    [0, 0.01, 0.1, 0.5].map((rounding) => gradientBound(bounds, rounding)),
    [0.15, 0.15, 0.8, 1],
  );
  const exact = await check(started("q_proj,down_proj"), honestDevice);
  // A device that rounds all products to bfloat16 is what the check allows for.
  const rounding = { ...honestDevice, rewrite: (graph: Graph) => roundProducts(graph, "bfloat16") };
  const rounded = await check(started("q_proj,down_proj"), rounding, "bf16");
  t.true(exact.gradients.every(({ bound }) => bound === 1e-3));
  t.true(rounded.gradients.every(({ error }) => error > 1e-4));
  t.is(firstWrongGradient(rounded), undefined);
  const lie = lyingDevice((node) => node.backward && isProductIn(node, 0, "down_proj"), 2.5);
  const wrong = await check(started("q_proj,down_proj"), lie, "bf16");
  t.regex(firstWrongGradient(wrong)?.name ?? "", /layers\.0\.mlp\.down_proj/);
});
