const size = 624;
const middle = 397;

/** Python's `random.Random` as far as it is needed here: the same numbers for the same seed. */
export interface PythonRandom {
  /** The next 32 bits of the generator. */
  bits(): number;
  /** random.Random.getrandbits(k) for 1 <= k <= 32. */
  getrandbits(k: number): number;
  /** A whole number in [0, below), as random.Random._randbelow draws it. below <= 2^32. */
  randbelow(below: number): number;
  /** random.Random.shuffle: in place. */
  shuffle(items: unknown[]): void;
}

/**
 * The generator of Python's random.seed(seed), a whole number below 2^53.
 *
 * MT19937, its state filled by init_by_array with the seed's 32-bit words, least first. Source: Matsumoto and Nishimura,
 * "Mersenne Twister", 1998, with their initialisation of 2002; CPython's Modules/_randommodule.c and Lib/random.py (3.2
 * and later: shuffle draws by rejection from the number of bits of its bound).
 * @throws {RangeError} if the seed is not a whole number that a double holds exactly
 */
export const pythonRandom = (seed: number): PythonRandom => {
  if (!Number.isSafeInteger(seed))
    throw new RangeError(`found seed ${String(seed)}, expected a whole number below 2^53`);
  const state = initByArray(seedWords(Math.abs(seed))); // Python takes the absolute value too
  let at = size;
  const bits = (): number => {
    if (at === size) {
      twist(state);
      at = 0;
    }
    let y = state[at++] ?? 0;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  };
  const getrandbits = (k: number): number => bits() >>> (32 - k);
  const randbelow = (below: number): number => {
    if (!(below >= 1 && below < 2 ** 32))
      throw new RangeError(`found bound ${String(below)}, expected 1 to 2^32 - 1`);
    const k = 32 - Math.clz32(below);
    let draw = getrandbits(k);
    while (draw >= below) draw = getrandbits(k);
    return draw;
  };
  return {
    bits,
    getrandbits,
    randbelow,
    shuffle(items) {
      for (let i = items.length - 1; i > 0; i--) {
        const j = randbelow(i + 1);
        [items[i], items[j]] = [items[j], items[i]];
      }
    },
  };
};

const seedWords = (seed: number): number[] => {
  const high = Math.floor(seed / 2 ** 32);
  return high === 0 ? [seed >>> 0] : [seed >>> 0, high];
};

const initByArray = (key: readonly number[]): Uint32Array => {
  const state = new Uint32Array(size);
  const get = (i: number): number => state[i] ?? 0;
  const mixed = (i: number): number => get(i - 1) ^ (get(i - 1) >>> 30);
  state[0] = 19650218;
  for (let i = 1; i < size; i++) state[i] = Math.imul(1812433253, mixed(i)) + i;
  let [i, j] = [1, 0];
  const step = (next: number): void => {
    state[i] = next;
    i++;
    if (i === size) {
      state[0] = get(size - 1);
      i = 1;
    }
  };
  for (let k = Math.max(size, key.length); k > 0; k--) {
    step((get(i) ^ Math.imul(mixed(i), 1664525)) + (key[j] ?? 0) + j);
    j = (j + 1) % key.length;
  }
  for (let k = size - 1; k > 0; k--) step((get(i) ^ Math.imul(mixed(i), 1566083941)) - i);
  state[0] = 0x80000000;
  return state;
};

const twist = (state: Uint32Array): void => {
  const get = (i: number): number => state[i % size] ?? 0;
  for (let i = 0; i < size; i++) {
    const y = (get(i) & 0x80000000) | (get(i + 1) & 0x7fffffff);
    state[i] = get(i + middle) ^ (y >>> 1) ^ ((y & 1) === 0 ? 0 : 0x9908b0df);
  }
};
