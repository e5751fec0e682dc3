/**
 * Counter-based random numbers: Philox 4x32-10, a pure function of (seed, purpose, step, index).
 *
 * Nothing is global and nothing is drawn "in order", so a resumed run draws what the uninterrupted one would have.
 * Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
 */
const philox = (
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] => {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [hi0, lo0] = multiply(0xd2511f53, c0);
    const [hi1, lo1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(hi1 ^ c1 ^ k0) >>> 0, lo1, (hi0 ^ c3 ^ k1) >>> 0, lo0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
};

/** The 64-bit product of two 32-bit numbers as [high, low]. */
const multiply = (a: number, b: number): [number, number] => {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const middle2 = aLow * bHigh + (middle & 0xffff);
  const high = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(middle2 / 0x10000);
  return [high >>> 0, (((middle2 & 0xffff) << 16) | (low & 0xffff)) >>> 0];
};

/** FNV-1a, 32 bits: turns a purpose ("init:model.layers.0...A") into a part of the key. */
const hashText = (text: string): number => {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
};

/** A stream of pseudo-random numbers: the same seed gives the same numbers in the same order. */
export interface RandomStream {
  /** The next 32 random bits. */
  bits(): number;
  /** The next number in [0, 1), a multiple of 2^-32. */
  uniform(): number;
  /** The next standard normal number (Box-Muller). */
  normal(): number;
  /** The next whole number in [0, below). */
  integer(below: number): number;
}

/** The stream named by (seed, purpose, step). Streams of different names are independent. */
export const randomStream = (seed: number, purpose: string, step = 0): RandomStream => {
  const key = [seed >>> 0, hashText(purpose)] as const;
  const seedHigh = Math.floor(seed / 0x100000000) >>> 0;
  let block = 0;
  let buffered: number[] = [];
  let spare: number | undefined;
  const bits = (): number => {
    const ready = buffered.pop();
    if (ready !== undefined) return ready;
    buffered = philox(
      [block++ >>> 0, step >>> 0, Math.floor(step / 0x100000000) >>> 0, seedHigh],
      key,
    );
    return buffered.pop() ?? 0;
  };
  const uniform = (): number => bits() / 0x100000000;
  return {
    bits,
    uniform,
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log((bits() + 1) / 0x100000000));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
    integer(below) {
      // Rejection keeps every value equally likely.
      const limit = Math.floor(0x100000000 / below) * below;
      let draw = bits();
      while (draw >= limit) draw = bits();
      return draw % below;
    },
  };
};

/** A random permutation of 0..length-1 (Fisher-Yates) from the stream (seed, purpose, step). */
export const permutation = (
  length: number,
  seed: number,
  purpose: string,
  step = 0,
): Uint32Array => {
  const stream = randomStream(seed, purpose, step);
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = stream.integer(i + 1);
    const [a, b] = [order[i] ?? 0, order[j] ?? 0];
    order[i] = b;
    order[j] = a;
  }
  return order;
};
