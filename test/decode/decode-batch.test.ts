import { fileURLToPath } from "node:url";
import test from "ava";
import { decodeBatch } from "../../src/decode/decode-batch.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import type { DecodeEngine, Prompt } from "../../src/decode/step-engine.js";
import { plainLlama } from "../support/plain-llama.js";

const engine = plainLlama(fileURLToPath(new URL("../fixtures/decode/tiny-llama", import.meta.url)));
const prompts: readonly Prompt[] = [[20, 30], [11], [40, 41, 42, 43], [9, 90], [33, 8, 70]].map(
  (ids) => ({ ids }),
);
const base = { ...defaultDecodeSettings, maxNewTokens: 12, eosIds: [2, 7], padId: 3 };

const decodeInBatchesOf = async (size: number, settings: DecodeSettings, seed: number) => {
  const found = [];
  for (let start = 0; start < prompts.length; start += size) {
    const batch = prompts.slice(start, start + size);
    const rows = batch.map((_, i) => start + i);
    found.push(...(await decodeBatch(engine, batch, { settings, rows, seed })));
  }
  return found;
};

const kinds: Readonly<Record<string, DecodeSettings>> = {
  greedy: base,
  sampling: { ...base, doSample: true, numReturnSequences: 3 },
  "sampling with cuts": { ...base, doSample: true, temperature: 1.5, topK: 10, topP: 0.8 },
  "beam search": { ...base, numBeams: 3, numReturnSequences: 3, noRepeatNgramSize: 3 },
  "beam sampling": { ...base, numBeams: 3, numReturnSequences: 2, doSample: true, topK: 12 },
};
for (const [name, settings] of Object.entries(kinds)) {
  test(`decodeBatch gives the same texts at every batch size: ${name}`, async (t) => {
    const alone = await decodeInBatchesOf(1, settings, 5);
    t.is(alone.length, prompts.length);
    t.true(alone.every((sequences) => sequences.length === settings.numReturnSequences));
    t.deepEqual(await decodeInBatchesOf(2, settings, 5), alone);
    t.deepEqual(await decodeInBatchesOf(5, settings, 5), alone);
  });
}

test("decodeBatch samples other texts with another seed", async (t) => {
  const settings = kinds["sampling"]!;
  t.notDeepEqual(await decodeInBatchesOf(5, settings, 5), await decodeInBatchesOf(5, settings, 6));
});

test("decodeBatch takes a finished prompt out of the batch, and disposes the run", async (t) => {
  const kept: (readonly number[])[] = [];
  const fed: number[] = [];
  let disposed = 0;
  const watched: DecodeEngine = {
    vocabularySize: engine.vocabularySize,
    async start(batch, options) {
      const { run, candidates } = await engine.start(batch, options);
      return {
        candidates,
        run: {
          step: (input) => {
            fed.push(input.tokens.length);
            return run.step(input);
          },
          keep: (places) => {
            kept.push(places);
            run.keep(places);
          },
          dispose: () => {
            disposed++;
            run.dispose();
          },
        },
      };
    },
  };
  const rows = prompts.map((_, i) => i);
  const finished: number[] = [];
  const found = await decodeBatch(watched, prompts, {
    settings: { ...base, numBeams: 2, maxNewTokens: 20 },
    rows,
    seed: 0,
    onFinished: (place) => finished.push(place),
  });
  t.is(found.length, prompts.length);
  t.deepEqual([...finished].sort(), rows);
  t.true(kept.length > 0);
  t.is(fed[0], 2 * prompts.length);
  t.true(fed.at(-1)! < 2 * prompts.length);
  t.is(disposed, 1);
});

test("decodeBatch stops between steps when the signal is aborted, and disposes the run", async (t) => {
  const controller = new AbortController();
  const reason = new Error("enough");
  let disposed = false;
  const stopping: DecodeEngine = {
    vocabularySize: engine.vocabularySize,
    async start(batch, options) {
      const { run, candidates } = await engine.start(batch, options);
      const step = (input: Parameters<typeof run.step>[0]) => {
        controller.abort(reason);
        return run.step(input);
      };
      const dispose = () => {
        disposed = true;
      };
      return { candidates, run: { ...run, step, dispose } };
    },
  };
  const error = await t.throwsAsync(
    decodeBatch(stopping, prompts, {
      settings: base,
      rows: [0, 1, 2, 3, 4],
      seed: 0,
      signal: controller.signal,
    }),
  );
  t.is(error, reason);
  t.true(disposed);
});

test("decodeBatch of no prompts is empty", async (t) => {
  t.deepEqual(await decodeBatch(engine, [], { settings: base, rows: [], seed: 0 }), []);
});

test("decodeBatch refuses to search among predictions that are not numbers", async (t) => {
  const broken: DecodeEngine = {
    vocabularySize: 4,
    start: (batch, { width }) =>
      Promise.resolve({
        candidates: {
          beams: 1,
          width,
          logProbs: new Float32Array(batch.length * width).fill(NaN),
          ids: new Int32Array(batch.length * width),
          normalizers: new Float32Array(batch.length),
        },
        run: {
          step: () => Promise.reject(new Error("not reached")),
          keep: () => undefined,
          dispose: () => undefined,
        },
      }),
  };
  await t.throwsAsync(
    decodeBatch(broken, [{ ids: [1] }], { settings: base, rows: [17], seed: 0 }),
    { message: /Cannot decode row 18: found NaN/ },
  );
});
