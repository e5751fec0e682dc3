/** A prompt as token ids. */
export interface Prompt {
  readonly ids: readonly number[] | Int32Array;
  /**
   * Padding columns the row came with, to its left. The model never sees them, but transformers counts them among the
   * n-grams that must not repeat. Padding that a batch adds is not counted: text must not depend on the batch.
   */
  readonly paddingColumns?: number;
}

/**
 * The best next tokens of every live beam, best first, with their natural log-probabilities under the model.
 *
 * `logProbs`, `ids`: [prompts, beams, width]; `normalizers`: [prompts, beams], the logarithm of the sum of exp(logit), which is
 * logit - log-probability. After the prompts themselves `beams` is 1: all beams still share them.
 */
export interface Candidates {
  readonly beams: number;
  readonly width: number;
  readonly logProbs: Float32Array;
  readonly ids: Int32Array;
  readonly normalizers: Float32Array;
}

/** What the beams of all live prompts are given. */
export interface StepInput {
  /** The token each beam goes on with, [prompts, beams]. */
  readonly tokens: Int32Array;
  /** The beam of the step before that each beam continues, [prompts, beams]; 0 in the first step. */
  readonly parents: Int32Array;
  /** How many candidates of each beam are wanted; at most the vocabulary. */
  readonly width: number;
}

/** One batch being decoded: its caches, and nothing else. */
export interface DecodeRun {
  /** Feeds one token to every beam. */
  step(input: StepInput): Promise<Candidates>;
  /** Drops all prompts but those at these places (rising), which become prompts 0, 1, ... */
  keep(places: readonly number[]): void;
  dispose(): void;
}

/** How many beams, how many steps, and how many columns the prompts have, before the first step. */
export interface StartOptions {
  readonly numBeams: number;
  /** The most steps that will be asked for, plus one: the prompts themselves give the first token. */
  readonly maxNewTokens: number;
  readonly width: number;
  readonly signal?: AbortSignal | undefined;
}

/** A model that can be decoded from: what search and sampling know of it. */
export interface DecodeEngine {
  readonly vocabularySize: number;
  /** Runs every prompt once and returns its candidates with a run that continues from there. */
  start(
    prompts: readonly Prompt[],
    options: StartOptions,
  ): Promise<{ readonly run: DecodeRun; readonly candidates: Candidates }>;
}
