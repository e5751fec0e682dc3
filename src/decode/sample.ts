import type { RandomStream } from "../core/random.js";
import { orderById, sampledWidth } from "./logits-processors.js";
import type { CandidateRow, Search, Sequence, StepRandom, StopRule } from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { Prompt } from "./step-engine.js";
import { survivingTokens, tokenRules, type StepRules } from "./token-rules.js";

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
 * The score adds up the model's own log-probabilities, before rules, temperature and cuts.
 * Source: transformers' GenerationMixin._sample.
 */
export const sampleTokens = (
  prompt: Prompt,
  settings: DecodeSettings,
  random: readonly StepRandom[],
  stops?: StopRule,
): Search => {
  const { doSample, maxNewTokens, lengthPenalty, padId } = settings;
  const width = settings.numReturnSequences;
  const rules = tokenRules(prompt, settings);
  const eos = new Set(settings.eosIds);
  const texts = Array.from({ length: width }, () => ({
    tokens: [] as number[],
    sum: 0,
    stoppedBy: undefined as Sequence["stoppedBy"] | undefined,
    next: rules.after([]),
  }));
  const choose = (
    candidates: CandidateRow,
    next: StepRules,
    stream: RandomStream | undefined,
  ): number | undefined => {
    const left = survivingTokens(candidates, next, settings, 1);
    if (!doSample || !stream) return left.ids[0];
    const survivors = orderById(left);
    return survivors.ids[drawDistinct(survivors.scores, 1, stream)[0] ?? -1];
  };
  let step = 0;
  return {
    width,
    get wanted() {
      const extra = texts.reduce((most, { next }) => Math.max(most, next.extra), 0);
      return (doSample ? sampledWidth(settings) : 1) + extra;
    },
    advance(row) {
      texts.forEach((text, beam) => {
        if (text.stoppedBy) return;
        const candidates = row(beam);
        const id = choose(candidates, text.next, random[beam]?.(step));
        // Every token is banned: transformers would go on with token 0 at probability zero.
        if (id === undefined) {
          text.stoppedBy = "length";
          return;
        }
        text.tokens.push(id);
        text.sum += candidates.logProbs[candidates.ids.indexOf(id)] ?? 0;
        if (eos.has(id)) text.stoppedBy = "eos";
        else if (stops?.([...prompt.ids, ...text.tokens])) text.stoppedBy = "string";
        else if (text.tokens.length === maxNewTokens) text.stoppedBy = "length";
        else text.next = rules.after(text.tokens);
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
