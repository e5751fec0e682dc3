import test from "ava";
import { TreeCache } from "../../src/decode/tree-cache.js";
import type { Tensor } from "../../src/runtime/tensor.js";

const shape = { layers: 1, kvHeads: 2, headDim: 2, numBeams: 2 };

/** Writes `value` into a slot of all heads of a prompt: keys as it is, values negated. */
const write = (cache: TreeCache, prompt: number, slot: number, value: number): void => {
  cache.tensors.forEach((tensor, i) => {
    const data = tensor.data as Float32Array;
    for (let head = 0; head < shape.kvHeads; head++) {
      const at = ((prompt * shape.kvHeads + head) * cache.slots + slot) * shape.headDim;
      data.fill(i === 0 ? value : -value, at, at + shape.headDim);
    }
  });
};

/** What a beam sees, in the order of the slots; checks that all heads, keys and values agree. */
const seen = (cache: TreeCache, prompt: number, beam: number): readonly number[] => {
  const mask = cache.mask.data as Float32Array;
  const [keys, values] = cache.tensors as [Tensor, Tensor];
  const visible: number[] = [];
  for (let slot = 0; slot < cache.slots; slot++) {
    if (mask[(prompt * shape.numBeams + beam) * cache.slots + slot] !== 0) continue;
    const elements = [0, 1].flatMap((head) => {
      const at = ((prompt * shape.kvHeads + head) * cache.slots + slot) * shape.headDim;
      return [
        ...(keys.data as Float32Array).subarray(at, at + 2),
        ...(values.data as Float32Array).subarray(at, at + 2).map((value) => -value),
      ];
    });
    if (new Set(elements).size !== 1) throw new Error(`slot ${String(slot)}: ${elements.join()}`);
    visible.push(elements[0]!);
  }
  return visible;
};

/** One step in which beam b of prompt p writes 100 * (p + 1) + 10 * step + b. */
const step = (cache: TreeCache, number: number, parents: readonly number[]): void => {
  const first = cache.advance(Int32Array.from(parents));
  for (let prompt = 0; prompt < cache.prompts; prompt++)
    for (let beam = 0; beam < shape.numBeams; beam++)
      write(cache, prompt, first + beam, 1000 * (prompt + 1) + 10 * number + beam);
};

const twoPrompts = (steps: number): TreeCache => {
  const cache = new TreeCache(shape, [3, 1], steps);
  for (let slot = 0; slot < 3; slot++) {
    write(cache, 0, slot, slot + 1);
    write(cache, 1, slot, slot + 7); // slots 1 and 2 are padding
  }
  return cache;
};

test("TreeCache shows each beam its prompt, its ancestors and its own token", (t) => {
  const cache = twoPrompts(3);
  step(cache, 1, [0, 0, 0, 0]);
  t.deepEqual(seen(cache, 0, 0), [1, 2, 3, 1010]);
  t.deepEqual(seen(cache, 0, 1), [1, 2, 3, 1011]);
  t.deepEqual(seen(cache, 1, 1), [7, 2011]);
  step(cache, 2, [1, 1, 1, 0]);
  t.deepEqual(seen(cache, 0, 0), [1, 2, 3, 1011, 1020]);
  t.deepEqual(seen(cache, 0, 1), [1, 2, 3, 1011, 1021]);
  t.deepEqual(seen(cache, 1, 0), [7, 2011, 2020]);
  t.deepEqual(seen(cache, 1, 1), [7, 2010, 2021]);
});

test("TreeCache keeps what beams see over 200 steps of any parents, and drops what none sees", (t) => {
  const cache = twoPrompts(200);
  const expected = [
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
    [[7], [7]],
  ];
  for (let number = 1; number <= 200; number++) {
    // Parents that meet now and then: only slots of the last few steps stay apart.
    const parents = [(number >> 1) & 1, number % 5 === 0 ? 0 : 1, 0, (number >> 2) & 1];
    step(cache, number, parents);
    expected.forEach((beams, prompt) => {
      const next = beams.map((_, beam) => [
        ...beams[parents[2 * prompt + beam]!]!,
        1000 * (prompt + 1) + 10 * number + beam,
      ]);
      expected[prompt] = next;
      next.forEach((tokens, beam) => {
        t.deepEqual(seen(cache, prompt, beam), tokens, `step ${String(number)}`);
      });
    });
  }
  // 203 tokens and what was not dropped yet; without dropping it would be 403.
  t.true(cache.slots < 260, String(cache.slots));
});

test("TreeCache makes no more room than the steps that are left need", (t) => {
  const cache = twoPrompts(1);
  t.is(cache.slots, 3);
  step(cache, 1, [0, 0, 0, 0]);
  t.is(cache.slots, 5);
});

test("TreeCache keeps the prompts that stay", (t) => {
  const cache = twoPrompts(20);
  step(cache, 1, [0, 0, 0, 0]);
  cache.keep([1]);
  t.is(cache.prompts, 1);
  t.deepEqual(cache.tensors[0]?.shape, [1, 2, cache.slots, 2]);
  t.deepEqual(cache.mask.shape, [1, 1, 1, 2, cache.slots]);
  t.deepEqual(seen(cache, 0, 0), [7, 2010]);
  for (let number = 2; number <= 20; number++) step(cache, number, [1, 0]);
  t.is(seen(cache, 0, 0).length, 21);
  t.is(seen(cache, 0, 0)[0], 7);
  cache.dispose();
  t.is(cache.tensors.length, 0);
});
