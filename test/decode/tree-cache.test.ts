import test from "ava";
import { openDeviceSlots } from "../../src/decode/device-slots.js";
import { TreeCache } from "../../src/decode/tree-cache.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import type { Tensor } from "../../src/runtime/tensor.js";
import { ownMemoryDevice } from "../support/own-memory-device.js";

const shape = { layers: 1, kvHeads: 2, headDim: 2, numBeams: 2, dtype: "float32" } as const;

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

test("TreeCache in a device's memory holds what one in the host's does, and moves it there", async (t) => {
  const { device, copies } = ownMemoryDevice({ canSlice: false });
  const slots = await openDeviceSlots({ ...cpuPlan(1), device }, shape);
  const cache = new TreeCache(shape, [2, 1, 2], 60, slots);
  const other = new TreeCache(shape, [2, 1, 2], 60);
  const prefix = [1, -1].map((sign) =>
    Float32Array.of(50, 50, 51, 51, 60, 60, 61, 61).map((x) => sign * x),
  );
  cache.writePrefix(prefix);
  other.writePrefix(prefix);
  const compare = async (): Promise<void> => {
    await cache.ready();
    t.deepEqual(cache.mask.data, other.mask.data);
    const mask = cache.mask.data as Float32Array;
    cache.tensors.forEach((tensor, i) => {
      const [own, host] = [device.read(tensor), other.tensors[i]!.data] as [
        Float32Array,
        Float32Array,
      ];
      t.deepEqual(tensor.shape, other.tensors[i]!.shape);
      for (let at = 0; at < own.length; at++) {
        const row = Math.floor(at / (shape.kvHeads * cache.slots * shape.headDim));
        const slot = Math.floor(at / shape.headDim) % cache.slots;
        const isSeen = [0, 1].some((beam) => mask[(row * 2 + beam) * cache.slots + slot] === 0);
        if (isSeen && own[at] !== host[at]) t.fail(`tensor ${String(i)}, element ${String(at)}`);
      }
    });
  };
  // Of the prompts of one token the second slot is never seen.
  await compare();
  for (let number = 1; number <= 60; number++) {
    if (number === 20 || number === 37)
      for (const each of [cache, other]) each.keep(number === 20 ? [0, 2] : [1]);
    const parents = Int32Array.from(
      { length: 2 * cache.prompts },
      (_, i) => (number >> (i % 3)) & 1,
    );
    const first = cache.advance(parents);
    t.is(other.advance(parents), first);
    await cache.ready();
    for (const [i, tensor] of cache.tensors.entries()) {
      const elements = device.read(tensor) as Float32Array;
      const host = other.tensors[i]!.data as Float32Array;
      for (let row = 0; row < cache.prompts * shape.kvHeads; row++)
        for (let beam = 0; beam < 2; beam++)
          for (const data of [elements, host])
            data.fill(
              100 * number + 10 * row + beam,
              (row * cache.slots + first + beam) * 2,
              (row * cache.slots + first + beam + 1) * 2,
            );
      device.write(tensor, elements);
    }
    await compare();
  }
  copies.reset();
  cache.keep([0]);
  await cache.ready();
  t.deepEqual(copies.toHost, []);
  t.deepEqual([...new Set(copies.toDevice.map(({ what }) => what))], ["index"]);
  cache.dispose();
  slots.dispose();
});
