import {
  allowedCandidates,
  bannedByNgrams,
  ngramHistory,
  orderById,
  sampledWidth,
  warp,
} from "./logits-processors.js";
import { drawDistinct } from "./sample.js";
import type { CandidateRow, Search, Sequence, StepRandom } from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { Prompt } from "./step-engine.js";

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
): Search => {
  const { numBeams, maxNewTokens, lengthPenalty, earlyStopping, noRepeatNgramSize } = settings;
  const history = ngramHistory(prompt, settings.padId);
  const eos = new Set(settings.eosIds);
  const offered = Math.max(2, 1 + eos.size) * numBeams;
  const ban = ({ tokens }: Beam): ReadonlySet<number> =>
    bannedByNgrams([...history, ...tokens], noRepeatNgramSize);

  let beams: readonly Beam[] = Array.from({ length: numBeams }, (_, beam) => ({
    tokens: [],
    sum: beam === 0 ? 0 : shadow,
  }));
  let banned = beams.map(ban);
  let ended: readonly Sequence[] = [];
  let length = 0;

  /** The best offers of all beams together, best first; drawn at random when sampling. */
  const offers = (row: (beam: number) => CandidateRow): readonly Choice[] => {
    const all = beams.flatMap(({ sum }, parent) => {
      const allowed = allowedCandidates(
        row(parent),
        banned[parent] ?? new Set(),
        settings.doSample ? Infinity : offered,
      );
      const { ids, scores } = settings.doSample ? orderById(warp(allowed, settings)) : allowed;
      return Array.from(ids, (id, i): Choice => ({ parent, id, sum: sum + (scores[i] ?? 0) }));
    });
    const chosen = settings.doSample
      ? drawDistinct(
          Float64Array.from(all, (choice) => choice.sum),
          offered,
          random(length),
        ).flatMap((place) => all[place] ?? [])
      : all.filter(({ sum }) => sum > -Infinity);
    return chosen
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
      const width = settings.doSample ? sampledWidth(settings) : offered;
      return width + Math.max(...banned.map((ids) => ids.size));
    },
    advance(row) {
      const choices = offers(row);
      if (choices.length === 0) return undefined; // every token is banned
      length++;
      const ends = ({ id }: Choice): boolean => eos.has(id) || length === maxNewTokens;
      const tokensOf = ({ parent, id }: Choice): number[] => [...(beams[parent]?.tokens ?? []), id];
      const newlyEnded = choices
        .slice(0, numBeams)
        .filter(ends)
        .map((choice): Sequence => ({
          tokens: tokensOf(choice),
          score: choice.sum / length ** lengthPenalty,
          stoppedBy: eos.has(choice.id) ? "eos" : "length",
        }));
      // The sort is stable: of equal scores the older stays in front.
      ended = [...ended, ...newlyEnded].sort((a, b) => b.score - a.score).slice(0, numBeams);

      const open = choices.filter((choice) => !ends(choice)).slice(0, numBeams);
      beams = open.map((choice) => ({ tokens: tokensOf(choice), sum: choice.sum }));
      if (open.length === 0) return undefined;
      if (earlyStopping === true && ended.length === numBeams) return undefined;
      if (!canImprove()) return undefined;
      banned = beams.map(ban);
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
