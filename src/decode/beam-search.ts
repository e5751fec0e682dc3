import { orderById, sampledWidth } from "./logits-processors.js";
import { drawDistinct } from "./sample.js";
import type { CandidateRow, Search, Sequence, StepRandom, StopRule } from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { Prompt } from "./step-engine.js";
import { normalizesScores, survivingTokens, tokenRules } from "./token-rules.js";

interface Beam {
  readonly tokens: readonly number[];
  /** Sum of log-probabilities (of warped ones when sampling). */
  readonly sum: number;
}

interface Choice {
  readonly parent: number;
  readonly id: number;
  readonly sum: number;
}

/**
 * The sum that transformers gives all beams but the first before the first step: they hold the same prompt, so that
 * whatever they offer comes behind everything the first one offers.
 */
const shadow = -1e9;

/** The places of the `count` largest sums; more where the last of them is there several times. Without -Infinity. */
const placesOfLargest = (sums: Float64Array, count: number): readonly number[] => {
  const sorted = sums.length > count ? sums.slice().sort() : undefined;
  const least = sorted?.[sums.length - count] ?? -Infinity;
  const places: number[] = [];
  sums.forEach((sum, place) => {
    if (sum >= least && sum > -Infinity) places.push(place);
  });
  return places;
};

/**
 * Beam search over one prompt, or beam sampling with `doSample`.
 *
 * In each step all beams offer their next tokens. Of the (1 + number of eos ids) * numBeams best offers, those that end
 * become results if they are among the first numBeams, and the best numBeams of the others go on.
 * Source: transformers' GenerationMixin._beam_search, 5.23, whose results equal 4.41.1's in the stored cases; when
 * sampling, the drawn offers are ranked by score as in 4.41.1.
 */
export const beamSearch = (
  prompt: Prompt,
  settings: DecodeSettings,
  random: StepRandom,
  stops?: StopRule,
): Search => {
  const { numBeams, maxNewTokens, lengthPenalty, earlyStopping } = settings;
  const rules = tokenRules(prompt, settings);
  const eos = new Set(settings.eosIds);
  const offered = Math.max(2, 1 + eos.size) * numBeams;

  let beams: readonly Beam[] = Array.from({ length: numBeams }, (_, beam) => ({
    tokens: [],
    sum: beam === 0 ? 0 : shadow,
  }));
  const untouched = rules.after([]);
  let next = beams.map(() => untouched);
  let ended: readonly Sequence[] = [];
  let length = 0;

  /** The best offers of all beams together, best first; drawn at random when sampling. */
  const offers = (row: (beam: number) => CandidateRow): readonly Choice[] => {
    const left = beams.map((_, parent) =>
      survivingTokens(row(parent), next[parent] ?? untouched, settings, offered),
    );
    const inOrder = settings.doSample ? left.map(orderById) : left;
    const total = inOrder.reduce((count, { ids }) => count + ids.length, 0);
    const parents = new Int32Array(total);
    const ids = new Int32Array(total);
    const sums = new Float64Array(total);
    let place = 0;
    inOrder.forEach((tokens, parent) => {
      const sum = beams[parent]?.sum ?? 0;
      tokens.ids.forEach((id, i) => {
        parents[place] = parent;
        ids[place] = id;
        sums[place++] = sum + (tokens.scores[i] ?? 0);
      });
    });
    const places = settings.doSample
      ? drawDistinct(sums, offered, random(length))
      : placesOfLargest(sums, offered);
    return places
      .map((at): Choice => ({
        parent: parents[at] ?? 0,
        id: ids[at] ?? 0,
        sum: sums[at] ?? -Infinity,
      }))
      .sort((a, b) => b.sum - a.sum || a.parent - b.parent || a.id - b.id)
      .slice(0, offered);
  };

  /** Whether the best open beam, ended now or ("never") at the best length, could still enter the results. */
  const canImprove = (): boolean => {
    const worst = ended[numBeams - 1];
    const best = beams[0];
    if (!worst || !best) return true;
    const bestLength = earlyStopping === "never" && lengthPenalty > 0 ? maxNewTokens : length;
    return best.sum / bestLength ** lengthPenalty > worst.score;
  };

  return {
    width: numBeams,
    get wanted() {
      if (normalizesScores(settings)) return Infinity;
      const width = settings.doSample ? sampledWidth(settings) : offered;
      return width + next.reduce((most, { extra }) => Math.max(most, extra), 0);
    },
    advance(row) {
      const choices = offers(row);
      if (choices.length === 0) return undefined; // every token is banned
      length++;
      const tokensOf = ({ parent, id }: Choice): number[] => [...(beams[parent]?.tokens ?? []), id];
      const endOf = (choice: Choice): Sequence["stoppedBy"] | undefined => {
        if (eos.has(choice.id)) return "eos";
        if (stops?.([...prompt.ids, ...tokensOf(choice)])) return "string";
        return length === maxNewTokens ? "length" : undefined;
      };
      const endings = choices.map(endOf);
      const newlyEnded = choices.slice(0, numBeams).flatMap((choice, i): readonly Sequence[] => {
        const stoppedBy = endings[i];
        if (!stoppedBy) return [];
        const score = choice.sum / length ** lengthPenalty;
        return [{ tokens: tokensOf(choice), score, stoppedBy }];
      });
      // The sort is stable: of equal scores the older stays in front.
      ended = [...ended, ...newlyEnded].sort((a, b) => b.score - a.score).slice(0, numBeams);

      const open = choices.filter((_, i) => !endings[i]).slice(0, numBeams);
      beams = open.map((choice) => ({ tokens: tokensOf(choice), sum: choice.sum }));
      if (open.length === 0) return undefined;
      if (earlyStopping === true && ended.length === numBeams) return undefined;
      if (!canImprove()) return undefined;
      next = beams.map(({ tokens }) => rules.after(tokens));
      // Where bans leave fewer than numBeams, the places left over run along with the first beam and offer nothing.
      const fed = Array.from({ length: numBeams }, (_, beam) => open[beam] ?? open[0]);
      return {
        tokens: fed.map((choice) => choice?.id ?? settings.padId),
        parents: fed.map((choice) => choice?.parent ?? 0),
      };
    },
    results() {
      const open = beams.map(({ tokens, sum }): Sequence => {
        const score = sum / Math.max(1, length) ** lengthPenalty;
        return { tokens, score, stoppedBy: "length" };
      });
      return (ended.length > 0 ? ended : open).slice(0, settings.numReturnSequences);
    },
  };
};
