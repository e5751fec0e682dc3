import type { RandomStream } from "../core/random.js";
import type { Candidates } from "./step-engine.js";

/** A finished text as tokens. */
export interface Sequence {
  /** The new tokens, with the one that ended the sequence where one did; no padding. */
  readonly tokens: readonly number[];
  /** Sum of log-probabilities / length^lengthPenalty, as transformers' `sequences_scores`. */
  readonly score: number;
  /** "string": one of the settings' stop strings. */
  readonly stoppedBy: "eos" | "length" | "string";
}

/** The best next tokens of one beam, best first. */
export interface CandidateRow {
  readonly logProbs: Float32Array;
  readonly ids: Int32Array;
  /** The logit of a token is its log-probability and this. */
  readonly normalizer: number;
}

/** What a prompt's beams go on with; both of length `numBeams`. */
export interface Continuation {
  readonly tokens: readonly number[];
  readonly parents: readonly number[];
}

/**
 * The search of one prompt, apart from any batch: it sees candidates, never the model.
 *
 * It decides from its own prompt, settings and random stream alone, so a result cannot depend on the batch.
 */
export interface Search {
  /** Beams that are fed in every step. */
  readonly width: number;
  /** How many candidates of each beam the next `advance` needs (Infinity: the whole vocabulary). */
  readonly wanted: number;
  /** Takes one step; undefined when the search has ended. `row(beam)` gives that beam's candidates. */
  advance(row: (beam: number) => CandidateRow): Continuation | undefined;
  /** What was found, best first. Complete once `advance` has returned undefined. */
  results(): readonly Sequence[];
}

/** Whether a text ends with its last token, for another reason than eos: its prompt, then its new tokens. */
export type StopRule = (tokens: readonly number[]) => boolean;

/** The random numbers of one prompt: a stream for every step. */
export type StepRandom = (step: number) => RandomStream;

/** The candidates of one beam, as views. Before the first step all beams share those of the prompt. */
export const candidateRow = (
  { beams, width, logProbs, ids, normalizers }: Candidates,
  place: number,
  beam: number,
): CandidateRow => {
  const row = place * beams + (beams === 1 ? 0 : beam);
  const start = row * width;
  return {
    logProbs: logProbs.subarray(start, start + width),
    ids: ids.subarray(start, start + width),
    normalizer: normalizers[row] ?? NaN,
  };
};
