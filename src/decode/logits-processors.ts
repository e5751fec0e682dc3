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
 * The tokens that would complete an n-gram which `among` already holds: by default `tokens` themselves.
 *
 * Source: transformers' NoRepeatNGramLogitsProcessor; with the prompt as `among`, EncoderNoRepeatNGramLogitsProcessor.
 */
export const bannedByNgrams = (
  tokens: readonly number[],
  size: number,
  among: readonly number[] = tokens,
): ReadonlySet<number> => {
  const banned = new Set<number>();
  const suffix = tokens.length + 1 - size; // where the last size - 1 tokens begin
  if (size === 0 || suffix < 0) return banned;
  for (let start = 0; start + size <= among.length; start++) {
    let same = true;
    for (let i = 0; same && i < size - 1; i++) same = among[start + i] === tokens[suffix + i];
    const last = among[start + size - 1];
    if (same && last !== undefined) banned.add(last);
  }
  return banned;
};

/** The first `limit` candidates that are not banned, best first. */
export const allowedCandidates = (
  { ids, logProbs }: Pick<CandidateRow, "ids" | "logProbs">,
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

/** Of how many of the best tokens top-h looks at the entropy. */
const TOP_H_TOKENS = 100;

/**
 * How many candidates sampling needs: top-h's or top-k's, or all, since the other cuts and the temperature look at the whole
 * distribution.
 */
export const sampledWidth = (settings: DecodeSettings): number => {
  if (settings.topH !== undefined) return TOP_H_TOKENS;
  return settings.topK === 0 ? Infinity : Math.max(settings.topK, fewestSurvivors(settings));
};

/** exp(score) of each, as shares of their sum. */
const probabilitiesOf = (scores: Float64Array): Float64Array => {
  const best = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  const weights = scores.map((score) => Math.exp(score - best));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};

const entropyOf = (probabilities: Float64Array): number =>
  probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);

const firstTokens = ({ ids, scores }: ScoredTokens, count: number): ScoredTokens => ({
  ids: ids.subarray(0, count),
  scores: scores.subarray(0, count),
});

/** The tokens at whose place `keeps` holds. */
const keptTokens = (
  { ids, scores }: ScoredTokens,
  keeps: (place: number) => boolean,
): ScoredTokens => ({
  ids: ids.filter((_, place) => keeps(place)),
  scores: scores.filter((_, place) => keeps(place)),
});

/** The scores as log-probabilities of these tokens: transformers' LogitNormalization. */
export const normalizeScores = ({ ids, scores }: ScoredTokens): ScoredTokens => {
  const best = scores[0] ?? 0;
  const total = scores.reduce((sum, score) => sum + Math.exp(score - best), 0);
  return { ids, scores: scores.map((score) => score - best - Math.log(total)) };
};

/** The tokens that come first, as long as those before them are below the share of the entropy. */
const cutByTopH = (tokens: ScoredTokens, topH: number): ScoredTokens => {
  const best = firstTokens(tokens, TOP_H_TOKENS);
  const probabilities = probabilitiesOf(best.scores);
  const bound = entropyOf(probabilities) * topH;
  let [sum, kept] = [0, 0];
  for (const p of probabilities) {
    sum -= p > 0 ? p * Math.log(p) : 0;
    if (kept > 0 && !(sum <= bound)) break;
    kept++;
  }
  return firstTokens(best, kept);
};

const cutByTopP = (tokens: ScoredTokens, topP: number, fewest: number): ScoredTokens => {
  const { scores } = tokens;
  const best = scores[0] ?? 0;
  const total = scores.reduce((sum, score) => sum + Math.exp(score - best), 0);
  let before = 0;
  let kept = 0;
  while (kept < scores.length && (kept < fewest || before < topP * total))
    before += Math.exp((scores[kept++] ?? 0) - best);
  return firstTokens(tokens, kept);
};

/** Those nearest to the expected surprise, until they have the probability `mass` together. */
const cutByTypicality = (tokens: ScoredTokens, mass: number, fewest: number): ScoredTokens => {
  const probabilities = probabilitiesOf(tokens.scores);
  const entropy = entropyOf(probabilities);
  const distances = probabilities.map((p) => Math.abs(-Math.log(p) - entropy));
  const order = Uint32Array.from(distances.keys()).sort(
    (a, b) => (distances[a] ?? 0) - (distances[b] ?? 0) || a - b,
  );
  let [sum, last] = [0, 0];
  while (last < order.length - 1 && (sum += probabilities[order[last] ?? 0] ?? 0) < mass) last++;
  const bound = distances[order[last] ?? 0] ?? Infinity;
  const always = new Set(order.subarray(0, fewest));
  return keptTokens(tokens, (place) => (distances[place] ?? 0) <= bound || always.has(place));
};

/** Those of at least this probability, and the `fewest` best. */
const cutByProbability = (
  tokens: ScoredTokens,
  least: (probabilities: Float64Array) => number,
  fewest: number,
): ScoredTokens => {
  const probabilities = probabilitiesOf(tokens.scores);
  const bound = least(probabilities);
  return keptTokens(tokens, (place) => place < fewest || (probabilities[place] ?? 0) >= bound);
};

/**
 * Divides by the temperature, then cuts by top-h, top-k, top-p, min-p, typicality, epsilon and eta, each what the one before has
 * left: transformers' order.
 *
 * `tokens` come best first, and so do the survivors. Their scores are not normalized again.
 * A token stays in top-p if those before it have less than `topP` of the probability together.
 * Source: the warpers of transformers' logits_process.py, 5.23.
 */
export const warp = (tokens: ScoredTokens, settings: DecodeSettings): ScoredTokens => {
  const { temperature, topK, topP, topH, minP, typicalP, epsilonCutoff, etaCutoff } = settings;
  const fewest = fewestSurvivors(settings);
  let left = firstTokens(tokens, sampledWidth(settings));
  left = { ids: left.ids, scores: left.scores.map((score) => score / temperature) };
  if (topH !== undefined) left = cutByTopH(left, topH);
  if (topK > 0) left = firstTokens(left, Math.max(topK, fewest));
  if (topP < 1) left = cutByTopP(left, topP, fewest);
  if (minP !== undefined) left = cutByProbability(left, ([best = 0]) => minP * best, fewest);
  if (typicalP !== undefined) left = cutByTypicality(left, typicalP, fewest);
  if (epsilonCutoff !== undefined) left = cutByProbability(left, () => epsilonCutoff, fewest);
  if (etaCutoff !== undefined)
    left = cutByProbability(
      left,
      (all) => Math.min(etaCutoff, Math.sqrt(etaCutoff) * Math.exp(-entropyOf(all))),
      fewest,
    );
  return left;
};

/** The same tokens in the order of their ids, which rounding cannot change as it can change that of near ties. */
export const orderById = ({ ids, scores }: ScoredTokens): ScoredTokens => {
  const order = Uint32Array.from(ids, (_, i) => i).sort((a, b) => (ids[a] ?? 0) - (ids[b] ?? 0));
  return {
    ids: Int32Array.from(order, (i) => ids[i] ?? 0),
    scores: Float64Array.from(order, (i) => scores[i] ?? -Infinity),
  };
};
