import { randomStream } from "../core/random.js";
import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { deviceBounds } from "../train/device-bounds.js";
import { disagreement } from "../train/device-check.js";
import type { Candidates, DecodeEngine } from "./step-engine.js";

/** What a device and the CPU have decoded. */
export interface DecodingCheck {
  /** The largest |log p - log q| of the CPU's likeliest tokens, over the prompts and the steps behind them. */
  readonly logProbError: number;
  readonly bound: number;
  readonly seconds: number;
}

/** Tokens of the prompts, which are padded to the longest, and steps behind them: fewer where an engine has no room for so many. */
const promptLengths = [19, 12];
const mostSteps = 2;
const beams = 2;
/** How many of the CPU's likeliest tokens are looked at, and among how many of the device's they are looked for. */
const looked = 4;
const among = 64;
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

/** The largest difference of the log-probabilities of `expected`'s tokens; one that is not among `found` is at least as far as the last. */
const largestDifference = (found: Candidates, expected: Candidates): number => {
  const rows = expected.ids.length / expected.width;
  let largest = 0;
  for (let row = 0; row < rows; row++) {
    const start = row * found.width;
    const ids = found.ids.subarray(start, start + found.width);
    for (let i = 0; i < Math.min(looked, expected.width); i++) {
      const at = row * expected.width + i;
      const place = ids.indexOf(expected.ids[at] ?? -1);
      const logProb = found.logProbs[start + (place < 0 ? found.width - 1 : place)] ?? NaN;
      const difference = Math.abs(logProb - (expected.logProbs[at] ?? NaN));
      if (!(difference <= largest)) largest = difference;
    }
  }
  return largest;
};

/**
 * Decodes made-up prompts with an engine of the CPU in float32, and then with the plan's, and compares the log-probabilities of the
 * likeliest tokens: of the prompts, and of two steps of two beams behind them.
 *
 * One engine lives at a time, the CPU's first, which `openReference` makes and this disposes of.
 */
export const checkDecoding = async <Engine extends CheckedEngine>(
  openReference: (plan: ComputePlan) => Promise<CheckedEngine>,
  openEngine: (plan: ComputePlan) => Promise<Engine>,
  plan: ComputePlan,
): Promise<{ readonly engine: Engine; readonly found: DecodingCheck }> => {
  const started = performance.now();
  const reference = await openReference(cpuPlan(plan.threads));
  const expected = await walk(
    reference,
    Math.min(Math.max(looked, beams), reference.vocabularySize),
  ).finally(() => {
    reference.dispose();
  });
  const engine = await openEngine(plan);
  try {
    const width = Math.min(among, engine.vocabularySize);
    const { candidates } = await walk(engine, width, expected.steps);
    const differences = candidates.map((each, i) => {
      const other = expected.candidates[i];
      return other ? largestDifference(each, other) : NaN;
    });
    const logProbError = differences.reduce((most, each) => (each <= most ? most : each), 0);
    const found = {
      logProbError,
      bound: deviceBounds[plan.precision].logProb,
      seconds: (performance.now() - started) / 1000,
    };
    return { engine, found };
  } catch (error) {
    engine.dispose();
    throw error;
  }
};

const short = (value: number): string => String(Number(value.toPrecision(2)));

/** `Device check: log-probabilities within 0.0031 of the CPU's (0.2 allowed), 1.2 s` */
export const describeDecodingCheck = ({ logProbError, bound, seconds }: DecodingCheck): string =>
  `Device check: log-probabilities within ${short(logProbError)} of the CPU's (${short(bound)} allowed), ${seconds.toFixed(1)} s`;

/** That the device has decoded what the CPU has. @throws {UserError} saying by how much it differs, and what to do */
export const requireDecoding = (
  { logProbError, bound }: DecodingCheck,
  { device, precision }: ComputePlan,
): void => {
  if (logProbError <= bound) return;
  throw disagreement(
    `${device.description}, --precision=${precision}`,
    `log-probabilities of likely tokens ${Number.isFinite(logProbError) ? `${short(logProbError)} away from the CPU's` : "not finite"}, expected at most ${short(bound)}`,
  );
};
