import type { RandomStream } from "../core/random.js";
import type { Candidates } from "./step-engine.js";

/** A finished text as tokens. */
export interface Sequence {
  /** The new tokens, with the one that ended the sequence where one did; no padding. */
  readonly tokens: readonly number[];
  /** Sum of log-probabilities / length^lengthPenalty, as transformers' `sequences_scores`. */
  readonly score: number;
  readonly stoppedBy: "eos" | "length";
}

/** The best next tokens of one beam, best first. */
export interface CandidateRow {
  readonly logProbs: Float32Array;
  readonly ids: Int32Array;
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

/** The random numbers of one prompt: a stream for every step. */
export type StepRandom = (step: number) => RandomStream;

/** The candidates of one beam, as views. Before the first step all beams share those of the prompt. */
export const candidateRow = (
  { beams, width, logProbs, ids }: Candidates,
  place: number,
  beam: number,
): CandidateRow => {
  const start = (place * beams + (beams === 1 ? 0 : beam)) * width;
  return {
    logProbs: logProbs.subarray(start, start + width),
    ids: ids.subarray(start, start + width),
  };
};
