import { readFile } from "node:fs/promises";
import test from "ava";
import {
  activationBytes,
  hiraOfPaper,
  llama3,
  messageSeconds,
  modelCount,
  rankBytes,
  ringBytes,
  sentBytes,
  smolLm2,
  stagedSeconds,
  stepFlops,
  totalFlops,
  trafficOf,
  trainedCount,
  type ModelShape,
} from "../../scripts/bench/scale-model.js";
import { withScaleTables } from "../../scripts/bench/scale-on-paper.js";

/** Two layers: q [4, 4], k and v [2, 4], o [4, 4], gate and up [6, 4], down [4, 6], norms of 4; a table of 10 rows. */
const tiny: ModelShape = {
  ...{ hidden: 4, layers: 2, heads: 2, kvHeads: 1, headSize: 2, intermediate: 6 },
  ...{ vocab: 10, isTied: false },
};
// 16 + 8 + 8 + 16 + 3 * 24 = 120 a layer, and 8 of norms.
const tinyCount = 2 * 128 + 2 * 40 + 4;
const hira = { kind: "hira", rank: 3, targets: ["q_proj", "down_proj"] } as const;
// Rank 3 beside [4, 4] and [4, 6] in two layers.
const tinyTrained = 2 * 3 * (8 + 10);
const fft = { kind: "fft" } as const;

test("the models have the sizes that their makers name", (t) => {
  t.is(modelCount(tiny), tinyCount);
  t.is(modelCount(llama3), 8_030_261_248);
  t.is(modelCount(smolLm2), 134_515_008);
  t.is(trainedCount(llama3, hiraOfPaper), 56_623_104);
  t.is(trainedCount(tiny, hira), tinyTrained);
});

test("each stage shares out what ZeRO's paper says", (t) => {
  const bytes = (stage: 0 | 1 | 2 | 3) => {
    const { weights, gradients, moments } = rankBytes(tiny, fft, { stage, ranks: 4 });
    return [weights, gradients, moments];
  };
  t.deepEqual(bytes(0), [4 * 340, 4 * 340, 8 * 340]);
  t.deepEqual(bytes(1), [4 * 340, 4 * 340, 2 * 340]);
  t.deepEqual(bytes(2), [4 * 340, 340, 2 * 340]);
  t.deepEqual(bytes(3), [340, 340, 2 * 340]);
  // Of HiRA the frozen weights are shared out in stage 3 alone: 2 bytes each, and a layer beside the next one.
  const weights = 2 * tinyCount + 4 * tinyTrained;
  t.like(rankBytes(tiny, hira, { stage: 2, ranks: 4 }), { weights, gathered: 0 });
  t.like(rankBytes(tiny, hira, { stage: 3, ranks: 4 }), {
    weights: weights / 4,
    gathered: 2 * 256,
  });
});

test("rings send 2 (N-1)/N of an array in an all-reduce, and stages what they need", (t) => {
  t.is(ringBytes.allReduce(100, 2), 100);
  t.is(ringBytes.allReduce(100, 4), 150);
  t.is(ringBytes.allGather(100, 4), 75);
  const sent = (stage: 0 | 1 | 2 | 3, microBatches: number): number =>
    sentBytes(trafficOf(tiny, hira, { stage, microBatches }), 4);
  const gradients = 4 * tinyTrained;
  t.is(sent(0, 5), 1.5 * gradients);
  t.is(sent(1, 5), 1.5 * gradients);
  t.is(sent(2, 5), 0.75 * 6 * gradients);
  t.is(sent(3, 5), 0.75 * (5 * gradients + 10 * (2 * tinyCount + gradients)));
});

test("a step's operations are those of its products", (t) => {
  const of = (method: Parameters<typeof stepFlops>[1], checkpoints = false) =>
    stepFlops(tiny, method, { tokens: 7, seq: 5, checkpoints });
  // 240 weights of layers and 40 of the head; scores and sums of 5 columns in 2 layers of 4 values, half of them.
  const [matrices, attention] = [280, 2 * 2 * 5 * 4];
  const forward = 7 * (2 * matrices + attention);
  t.deepEqual(of(fft), {
    common: 2 * forward + 7 * attention,
    weightGradients: 7 * 2 * matrices,
    ...{ factors: 0, recomputed: 0 },
  });
  t.is(of(fft, true).recomputed, forward);
  // dW of q and down in two layers, 80 weights; 8 r + 6 for each of them.
  t.like(of(hira), { weightGradients: 7 * 2 * 80, factors: 80 * 30 });
  t.is(of({ ...hira, kind: "lora" }).weightGradients, 7 * 4 * tinyTrained);
  t.is(totalFlops({ common: 1, weightGradients: 2, factors: 3, recomputed: 4 }), 10);
});

test("activations are counted by hand", (t) => {
  // Of a token: 4 * 4 + 2 * 2 + 2 * 6 = 32 values a layer; logits of 256 rows and their gradient.
  const logits = 2 * 4 * 256 * 10;
  t.is(activationBytes(tiny, { tokens: 7, checkpoints: false }), 2 * 7 * 64 + logits);
  t.is(activationBytes(tiny, { tokens: 7, checkpoints: true }), 2 * 7 * (8 + 32) + logits);
});

test("messages take what the narrow place lets through", (t) => {
  const reduced = { reduced: 1000, scattered: 0, gathered: 0 };
  const four = { hosts: 1, cards: 4, within: 10, between: Infinity };
  t.is(messageSeconds(reduced, four, "ring", 0), 150);
  const hosts = { hosts: 2, cards: 2, within: 10, between: 5 };
  t.is(messageSeconds(reduced, hosts, "ring", 0), 1500 / 5);
  t.is(messageSeconds(reduced, hosts, "hierarchical", 0), 1000 / 10 + 1000 / 5);
  // The second gather of stage 3 stays in the host.
  const gathered = { reduced: 0, scattered: 0, gathered: 1000 };
  t.is(messageSeconds(gathered, hosts, "hierarchical", 3), 500 / 10 + 250 / 5);
  t.deepEqual(
    stagedSeconds(2 ** 21, hosts, { toHost: 2 ** 20, hostMemory: 2 ** 20, latency: 0.5 }),
    { moving: 4, reducing: (1.5 * 2 ** 21) / 5, waiting: 2 * 2 * 2 * 0.5 },
  );
  t.is(
    stagedSeconds(2 ** 20, four, { toHost: undefined, hostMemory: 2 ** 20, latency: 0 }).reducing,
    3 * 4 * 1.5,
  );
});

test("docs/scale.md has the tables that the formulas give", async (t) => {
  // Whatever prettier has done to the columns.
  const squeeze = (text: string): string => text.replace(/-{3,}/g, "---").replace(/[ \n]+/g, " ");
  const text = await readFile("docs/scale.md", "utf8");
  t.is(squeeze(text), squeeze(withScaleTables(text)));
});
