import type { RandomStream } from "../core/random.js";
import {
  allowedCandidates,
  bannedByNgrams,
  ngramHistory,
  orderById,
  sampledWidth,
  warp,
} from "./logits-processors.js";
import type { CandidateRow, Search, Sequence, StepRandom } from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { Prompt } from "./step-engine.js";

/**
 * Draws up to `count` different places, each with probability proportional to exp(score) among those left.
 *
 * Places whose weight vanishes beside the best one's come last, by score, once the others are used up; a score of
 * -Infinity is never drawn. This is torch.multinomial without replacement of softmax(scores).
 */
export const drawDistinct = (
  scores: Float64Array,
  count: number,
  random: RandomStream,
): readonly number[] => {
  let best = -Infinity;
  for (const score of scores) if (score > best) best = score;
  if (best === -Infinity) return [];
  const weights = scores.map((score) => Math.exp(score - best));
  const drawn: number[] = [];
  while (drawn.length < count) {
    // Summing what is left again, rather than subtracting, keeps small weights exact.
    let left = 0;
    for (const weight of weights) left += weight;
    if (left === 0) break;
    let threshold = random.uniform() * left;
    let place = -1;
    for (let i = 0; i < weights.length; i++) {
      const weight = weights[i] ?? 0;
      if (weight === 0) continue;
      place = i;
      threshold -= weight;
      if (threshold < 0) break;
    }
    drawn.push(place);
    weights[place] = 0;
  }
  if (drawn.length < count) {
    const used = new Set(drawn);
    const rest = [...scores.keys()].filter((i) => !used.has(i) && scores[i] !== -Infinity);
    rest.sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
    drawn.push(...rest.slice(0, count - drawn.length));
  }
  return drawn;
};

/**
 * Greedy decoding, or sampling of `numReturnSequences` texts that do not know of each other: one beam each.
 *
 * The score adds up the model's own log-probabilities, before temperature and cuts.
 * Source: transformers' GenerationMixin._sample.
 */
export const sampleTokens = (
  prompt: Prompt,
  settings: DecodeSettings,
  random: readonly StepRandom[],
): Search => {
  const { doSample, noRepeatNgramSize, maxNewTokens, lengthPenalty, padId } = settings;
  const width = settings.numReturnSequences;
  const history = ngramHistory(prompt, padId);
  const eos = new Set(settings.eosIds);
  const texts = Array.from({ length: width }, () => ({
    tokens: [] as number[],
    sum: 0,
    stoppedBy: undefined as Sequence["stoppedBy"] | undefined,
    banned: bannedByNgrams(history, noRepeatNgramSize),
  }));
  const choose = (
    candidates: CandidateRow,
    banned: ReadonlySet<number>,
    stream: RandomStream | undefined,
  ): number | undefined => {
    const allowed = allowedCandidates(candidates, banned, doSample ? Infinity : 1);
    if (!doSample || !stream) return allowed.ids[0];
    const survivors = orderById(warp(allowed, settings));
    return survivors.ids[drawDistinct(survivors.scores, 1, stream)[0] ?? -1];
  };
  let step = 0;
  return {
    width,
    get wanted() {
      const banned = Math.max(...texts.map((text) => text.banned.size));
      return (doSample ? sampledWidth(settings) : 1) + banned;
    },
    advance(row) {
      texts.forEach((text, beam) => {
        if (text.stoppedBy) return;
        const candidates = row(beam);
        const id = choose(candidates, text.banned, random[beam]?.(step));
        // Every token is banned: transformers would go on with token 0 at probability zero.
        if (id === undefined) {
          text.stoppedBy = "length";
          return;
        }
        text.tokens.push(id);
        text.sum += candidates.logProbs[candidates.ids.indexOf(id)] ?? 0;
        if (eos.has(id)) text.stoppedBy = "eos";
        else if (text.tokens.length === maxNewTokens) text.stoppedBy = "length";
        else text.banned = bannedByNgrams([...history, ...text.tokens], noRepeatNgramSize);
      });
      step++;
      if (texts.every((text) => text.stoppedBy)) return undefined;
      return {
        // A text that has ended is fed padding until the last one has: its place in the batch is fixed.
        tokens: texts.map((text) => (text.stoppedBy ? padId : (text.tokens.at(-1) ?? padId))),
        parents: texts.map((_, beam) => (step === 1 ? 0 : beam)),
      };
    },
    results: () =>
      texts.map(({ tokens, sum, stoppedBy }) => ({
        tokens,
        score: sum / Math.max(1, tokens.length) ** lengthPenalty,
        stoppedBy: stoppedBy ?? "length",
      })),
  };
};
