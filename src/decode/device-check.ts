import { randomStream } from "../core/random.js";
import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { deviceBounds, halfOf, logProbBound } from "../train/device-bounds.js";
import { disagreement, roundedCpuPlan } from "../train/device-check.js";
import type { Candidates, DecodeEngine } from "./step-engine.js";

/** What a device and the CPU have decoded. */
export interface DecodingCheck {
  /**
   * How far the device's log-probabilities are from the CPU's: of 64 likely tokens the root mean square of log p - log q, as a share of the
   * standard deviation of log p over the vocabulary; the largest of the prompts and of the steps behind them.
   */
  readonly logProbError: number;
  readonly bound: number;
  readonly seconds: number;
}

/** Tokens of the prompts, which are padded to the longest, and steps behind them: fewer where an engine has no room for so many. */
const promptLengths = [19, 12];
const mostSteps = 2;
const beams = 2;
/** How many of the CPU's likeliest tokens are looked at, and among how many of the device's they are looked for. */
const looked = 64;
const among = 256;

/** An engine with its room, which its owner disposes of. */
export interface CheckedEngine extends DecodeEngine {
  /** The longest prompt and its new tokens together. */
  readonly maxPositions: number;
  dispose(): void;
}

/** A step of the search: which tokens the beams go on with, of which beams. */
interface Step {
  readonly tokens: Int32Array;
  readonly parents: Int32Array;
}

/** The prompts and two steps behind them: what the CPU's candidates have to be, and the tokens that lead there. */
interface Trail {
  readonly candidates: readonly Candidates[];
  readonly steps: readonly Step[];
}

const promptsOf = (vocabulary: number, longest: number) =>
  promptLengths.map((most, i) => {
    const stream = randomStream(i, "device-check:prompt");
    const length = Math.min(most, longest);
    return { ids: Array.from({ length }, () => stream.integer(vocabulary)) };
  });

/** The best tokens of every prompt; in the second step the beams change places. */
const stepBehind = ({ ids, width, beams: from }: Candidates, step: number): Step => {
  const prompts = ids.length / (width * from);
  const tokens = new Int32Array(prompts * beams);
  const parents = new Int32Array(prompts * beams);
  for (let prompt = 0; prompt < prompts; prompt++)
    for (let beam = 0; beam < beams; beam++) {
      const parent = step === 0 ? 0 : beams - 1 - beam;
      parents[prompt * beams + beam] = parent;
      tokens[prompt * beams + beam] = ids[(prompt * from + parent) * width + beam] ?? 0;
    }
  return { tokens, parents };
};

/** Decodes two prompts and two steps; without `given` it chooses the tokens itself. */
const walk = async (
  engine: CheckedEngine,
  width: number,
  given?: readonly Step[],
): Promise<Trail> => {
  const { vocabularySize, maxPositions } = engine;
  const stepCount = Math.max(0, Math.min(mostSteps, maxPositions - 2));
  const maxNewTokens = stepCount + 1;
  const { run, candidates: first } = await engine.start(
    promptsOf(vocabularySize, Math.max(1, maxPositions - maxNewTokens)),
    { numBeams: beams, maxNewTokens, width },
  );
  try {
    const candidates = [first];
    const steps: Step[] = [];
    for (let i = 0; i < stepCount; i++) {
      const step = given?.[i] ?? stepBehind(candidates[i] ?? first, i);
      steps.push(step);
      candidates.push(await run.step({ ...step, width }));
    }
    return { candidates, steps };
  } finally {
    run.dispose();
  }
};

/** The standard deviation of what is finite of `values`. */
const spreadOf = (values: Float32Array): number => {
  const finite = values.filter((value) => Number.isFinite(value));
  const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
  return Math.sqrt(finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / finite.length);
};

/**
 * The log-probability errors (see DecodingCheck) of every row, of which `expected` has the whole vocabulary. A token that is not among
 * `found` is at most as likely as the last one there.
 */
const errorsOf = (found: Candidates, expected: Candidates): readonly number[] =>
  Array.from({ length: expected.ids.length / expected.width }, (_, row) => {
    const [start, from] = [row * found.width, row * expected.width];
    const places = new Map<number, number>();
    for (let i = start; i < start + found.width; i++) places.set(found.ids[i] ?? -1, i);
    const likely = expected.ids.subarray(from, from + Math.min(looked, expected.width));
    const squares = Array.from(likely, (id, i) => {
      const right = expected.logProbs[from + i] ?? NaN;
      const place = places.get(id);
      const last = found.logProbs[start + found.width - 1] ?? NaN;
      const difference =
        place === undefined ? Math.max(0, right - last) : right - (found.logProbs[place] ?? NaN);
      return difference ** 2;
    });
    const mean = squares.reduce((sum, square) => sum + square, 0) / squares.length;
    return Math.sqrt(mean) / spreadOf(expected.logProbs.subarray(from, from + expected.width));
  });

/** The largest error of all; NaN where one is. */
const largestError = (found: Trail, expected: Trail): number =>
  expected.candidates
    .flatMap((each, i) => {
      const other = found.candidates[i];
      return other ? errorsOf(other, each) : [NaN];
    })
    .reduce((most, each) => (each <= most ? most : each), 0);

/**
 * Decodes made-up prompts with an engine of the CPU in float32, and then with the plan's, and compares the log-probabilities of
 * likely tokens: of the prompts, and of two steps of two beams behind them.
 *
 * One engine lives at a time, the CPU's first, which `openReference` makes and this disposes of. Where one of 16 bits is further away than most
 * are, the CPU decodes once more with rounded products, which says how far it may be.
 */
export const checkDecoding = async <Engine extends CheckedEngine>(
  openReference: (plan: ComputePlan) => Promise<CheckedEngine>,
  openEngine: (plan: ComputePlan) => Promise<Engine>,
  plan: ComputePlan,
): Promise<{ readonly engine: Engine; readonly found: DecodingCheck }> => {
  const started = performance.now();
  const walkReference = async (asked: ComputePlan, steps?: readonly Step[]): Promise<Trail> => {
    const reference = await openReference(asked);
    return walk(reference, reference.vocabularySize, steps).finally(() => {
      reference.dispose();
    });
  };
  const expected = await walkReference(cpuPlan(plan.threads));
  const bounds = deviceBounds[plan.precision];
  let bound = logProbBound(bounds);
  let engine = await openEngine(plan);
  try {
    const width = Math.min(among, engine.vocabularySize);
    const logProbError = largestError(await walk(engine, width, expected.steps), expected);
    const half = halfOf[plan.precision];
    if (half && logProbError > bound) {
      engine.dispose();
      const rounded = await walkReference(roundedCpuPlan(plan.threads, half), expected.steps);
      bound = logProbBound(bounds, largestError(rounded, expected));
      engine = await openEngine(plan);
    }
    const found = { logProbError, bound, seconds: (performance.now() - started) / 1000 };
    return { engine, found };
  } catch (error) {
    engine.dispose();
    throw error;
  }
};

const percent = (share: number): string => `${String(Number((100 * share).toPrecision(2)))} %`;

/** `log-probabilities within 1.4 % of their spread of the CPU's (12 % allowed)` */
export const wordsOfDecodingCheck = ({ logProbError, bound }: DecodingCheck): string =>
  `log-probabilities within ${percent(logProbError)} of their spread of the CPU's (${percent(bound)} allowed)`;

/** The line of a check that ends well. */
export const describeDecodingCheck = (check: DecodingCheck): string =>
  `Device check: ${wordsOfDecodingCheck(check)}, ${check.seconds.toFixed(1)} s`;

/** That the device has decoded what the CPU has. @throws {UserError} saying by how much it differs, and what to do */
export const requireDecoding = (
  { logProbError, bound }: DecodingCheck,
  { device, precision }: ComputePlan,
): void => {
  if (logProbError <= bound) return;
  throw disagreement(
    `${device.description}, --precision=${precision}`,
    `log-probabilities of likely tokens ${Number.isFinite(logProbError) ? `${percent(logProbError)} of their spread away from the CPU's` : "not finite"}, expected at most ${percent(bound)}`,
  );
};
