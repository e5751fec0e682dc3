import type { DecodeSettings } from "./settings.js";
import type { CandidateRow } from "./search.js";
import type { Prompt } from "./step-engine.js";

/** Tokens with unnormalized log-probabilities. */
export interface ScoredTokens {
  readonly ids: Int32Array;
  readonly scores: Float64Array;
}

/** The tokens among which n-grams must not repeat: the row's own padding, then its prompt. */
export const ngramHistory = (
  { ids, paddingColumns = 0 }: Prompt,
  padId: number,
): readonly number[] => [...Array.from({ length: paddingColumns }, () => padId), ...ids];

/**
 * The tokens that would complete an n-gram which `tokens` already holds.
 *
 * Source: transformers' NoRepeatNGramLogitsProcessor.
 */
export const bannedByNgrams = (tokens: readonly number[], size: number): ReadonlySet<number> => {
  const banned = new Set<number>();
  if (size === 0) return banned;
  const suffix = tokens.length + 1 - size; // where the last size - 1 tokens begin
  for (let start = 0; start + size <= tokens.length; start++) {
    let same = true;
    for (let i = 0; same && i < size - 1; i++) same = tokens[start + i] === tokens[suffix + i];
    const last = tokens[start + size - 1];
    if (same && last !== undefined) banned.add(last);
  }
  return banned;
};

/** The first `limit` candidates that are not banned, best first. */
export const allowedCandidates = (
  { ids, logProbs }: CandidateRow,
  banned: ReadonlySet<number>,
  limit: number,
): ScoredTokens => {
  const most = Math.min(limit, ids.length);
  const kept = new Int32Array(most);
  const scores = new Float64Array(most);
  let count = 0;
  for (let i = 0; i < ids.length && count < most; i++) {
    const id = ids[i] ?? 0;
    if (banned.has(id)) continue;
    kept[count] = id;
    scores[count++] = logProbs[i] ?? -Infinity;
  }
  return { ids: kept.subarray(0, count), scores: scores.subarray(0, count) };
};

/**
 * Tokens that survive every cut: one, or with several beams enough that one of them does not end the text.
 *
 * Source: transformers' GenerationMixin._get_logits_processor (4.41.1: _get_logits_warper).
 */
export const fewestSurvivors = ({ numBeams, eosIds }: DecodeSettings): number =>
  numBeams === 1 ? 1 : Math.max(1, eosIds.length) + 1;

/** How many candidates sampling needs: top-k's, or all, since top-p and temperature look at the whole distribution. */
export const sampledWidth = (settings: DecodeSettings): number =>
  settings.topK === 0 ? Infinity : Math.max(settings.topK, fewestSurvivors(settings));

/**
 * Divides by the temperature, then cuts by top-k, then by top-p of what is left: transformers' order.
 *
 * `tokens` come best first, and so do the survivors. Their scores are not normalized again.
 * A token stays if those before it have less than `topP` of the probability together.
 * Source: transformers' TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper.
 */
export const warp = (tokens: ScoredTokens, settings: DecodeSettings): ScoredTokens => {
  const { temperature, topP } = settings;
  const count = Math.min(tokens.ids.length, sampledWidth(settings));
  const ids = tokens.ids.subarray(0, count);
  const scores = tokens.scores.subarray(0, count).map((score) => score / temperature);
  if (topP >= 1) return { ids, scores };
  const best = scores[0] ?? 0;
  const total = scores.reduce((sum, score) => sum + Math.exp(score - best), 0);
  const fewest = fewestSurvivors(settings);
  let before = 0;
  let kept = 0;
  while (kept < count && (kept < fewest || before < topP * total))
    before += Math.exp((scores[kept++] ?? 0) - best);
  return { ids: ids.subarray(0, kept), scores: scores.subarray(0, kept) };
};

/** The same tokens in the order of their ids, which rounding cannot change as it can change that of near ties. */
export const orderById = ({ ids, scores }: ScoredTokens): ScoredTokens => {
  const order = Uint32Array.from(ids, (_, i) => i).sort((a, b) => (ids[a] ?? 0) - (ids[b] ?? 0));
  return {
    ids: Int32Array.from(order, (i) => ids[i] ?? 0),
    scores: Float64Array.from(order, (i) => scores[i] ?? -Infinity),
  };
};
