import { fileURLToPath } from "node:url";
import test from "ava";
import { generate, planDecodeBatches } from "../../src/decode/generate.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import type { Sequence } from "../../src/decode/search.js";
import type { DecodeEngine } from "../../src/decode/step-engine.js";
import { plainLlama } from "../support/plain-llama.js";

const engine = plainLlama(fileURLToPath(new URL("../fixtures/decode/tiny-llama", import.meta.url)));
const settings = { ...defaultDecodeSettings, maxNewTokens: 5, eosIds: [2], padId: 3 };
const prompts = [[20], [30, 31, 32, 33], [40, 41], [50, 51, 52]].map((ids) => ({ ids }));

test("planDecodeBatches sorts by length, longest first, and cuts by rows", (t) => {
  t.deepEqual(planDecodeBatches([3, 9, 4, 9, 1], { batch: 2, batchTokens: 1000, newSlots: 4 }), [
    [1, 3],
    [2, 0],
    [4],
  ]);
});

test("planDecodeBatches cuts by slots, but never below one prompt", (t) => {
  t.deepEqual(
    planDecodeBatches([100, 8, 8, 8, 8, 8], { batch: 99, batchTokens: 40, newSlots: 2 }),
    [[0], [1, 2, 3, 4], [5]],
  );
});

test("generate returns results in the order of the input and reports progress", async (t) => {
  const sizes: number[] = [];
  const watched: DecodeEngine = {
    vocabularySize: engine.vocabularySize,
    start: (batch, options) => {
      sizes.push(batch.length);
      return engine.start(batch, options);
    },
  };
  const progress: number[] = [];
  const found = await generate({
    engine: watched,
    prompts,
    settings,
    batch: 3,
    onProgress: ({ finished, total }) => {
      t.is(total, 4);
      progress.push(finished);
    },
  });
  t.deepEqual(sizes, [3, 1]);
  t.deepEqual(progress, [1, 2, 3, 4]);
  for (const [row, prompt] of prompts.entries()) {
    const [alone] = await generate({ engine, prompts: [prompt], settings, batch: 1 });
    t.deepEqual(found[row], alone);
  }
});

test("generate of no prompts is empty", async (t) => {
  t.deepEqual(await generate({ engine, prompts: [], settings, batch: 4 }), []);
});

test("generate names every row with tokens that the model lacks", async (t) => {
  const error = await t.throwsAsync(
    generate({
      engine,
      prompts: [{ ids: [5] }, { ids: [] }, { ids: [7, 96] }],
      settings,
      batch: 4,
    }),
  );
  t.deepEqual(error?.message.split("\n"), [
    "Cannot decode row 2: found no tokens, expected one at least",
    "Cannot decode row 3: found the token id 96, expected ids from 0 to 95",
  ]);
});

test("generate refuses settings out of range before it decodes", async (t) => {
  await t.throwsAsync(
    generate({ engine, prompts, settings: { ...settings, numBeams: 0 }, batch: 4 }),
    { message: /numBeams: found 0/ },
  );
});

test("generate rejects with the signal's reason", async (t) => {
  const controller = new AbortController();
  const reason = new Error("stop");
  const error = await t.throwsAsync(
    generate({
      engine,
      prompts,
      settings,
      batch: 1,
      signal: controller.signal,
      onProgress: () => {
        controller.abort(reason);
      },
    }),
  );
  t.is(error, reason);
});

test("generate tells of each batch, stops between two, and goes on with what is known, to the same results (9.14)", async (t) => {
  const whole = await generate({ engine, prompts, settings, batch: 2 });
  const stop = new AbortController();
  const kept = new Map<number, readonly Sequence[]>();
  const started: number[] = [];
  const counting: DecodeEngine = {
    vocabularySize: engine.vocabularySize,
    start: (batch, options) => {
      started.push(batch.length);
      return engine.start(batch, options);
    },
  };
  const call = (known?: ReadonlyMap<number, readonly Sequence[]>) =>
    generate({
      ...{ engine: counting, prompts, settings, batch: 2, stop: stop.signal },
      ...(known && { known }),
      onBatch: async (found) => {
        for (const [row, sequences] of found) kept.set(row, sequences);
        if (!known) stop.abort(new Error("enough"));
      },
    });
  await t.throwsAsync(call(), { message: "enough" });
  // The longest prompts come first.
  t.deepEqual([...kept.keys()], [1, 3]);
  t.deepEqual(started, [2]);
  const known = new Map(kept);
  const again = new AbortController();
  const rest = await generate({
    ...{ engine: counting, prompts, settings, batch: 2, stop: again.signal, known },
    onBatch: async (found) => {
      t.deepEqual([...found.keys()], [2, 0]);
    },
  });
  t.deepEqual(started, [2, 2]);
  t.deepEqual(rest, whole);
  // Half of a batch is no help: its bits come from the whole of it.
  started.length = 0;
  const half = new Map([...known].slice(0, 1));
  t.deepEqual(
    await generate({ engine: counting, prompts, settings, batch: 2, known: half }),
    whole,
  );
  t.deepEqual(started, [2, 2]);
});
