import {
  allowedCandidates,
  bannedByNgrams,
  ngramHistory,
  normalizeScores,
  warp,
  type ScoredTokens,
} from "./logits-processors.js";
import type { CandidateRow } from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { Prompt } from "./step-engine.js";

/** The rules for the next token of one text. */
export interface StepRules {
  /** How many candidates are needed besides those that a search wants. Infinity: the whole vocabulary. */
  readonly extra: number;
  /** The first `limit` of what the rules leave of the candidates, best first. */
  apply(row: CandidateRow, limit: number): ScoredTokens;
}

/** The rules of one prompt. */
export interface TokenRules {
  /** @param tokens the new tokens so far */
  after(tokens: readonly number[]): StepRules;
}

interface Text {
  /** The row's own padding, its prompt, and the new tokens. */
  readonly tokens: readonly number[];
  readonly newTokens: number;
}

/** What a rule does to the scores of a step. A token that is not named keeps its score. */
type Change =
  | { readonly kind: "ban"; readonly ids: ReadonlySet<number> }
  | {
      readonly kind: "score";
      readonly ids: ReadonlySet<number>;
      /** Whether a score may grow: then a token may come to the front from anywhere. */
      readonly raises: boolean;
      readonly change: (score: number, id: number) => number;
    }
  /** No other token, and these at 0. */
  | { readonly kind: "only"; readonly ids: ReadonlySet<number> }
  /** No score below that of the least float32. */
  | { readonly kind: "floor" };

type Rule = (text: Text) => Change | undefined;

const LEAST_FLOAT32 = -3.4028234663852886e38;

const ban = (ids: Iterable<number>): Change => ({ kind: "ban", ids: new Set(ids) });

/** The tokens that complete one of the sequences behind `tokens`, each with the sum of what `sequences` say. */
const completions = (
  tokens: readonly number[],
  sequences: ReadonlyMap<string, readonly [tokens: readonly number[], bias: number]>,
): ReadonlyMap<number, number> => {
  const found = new Map<number, number>();
  for (const [ids, bias] of sequences.values()) {
    const start = tokens.length - (ids.length - 1);
    const last = ids.at(-1);
    if (last === undefined || start < 0) continue;
    if (ids.slice(0, -1).some((id, i) => tokens[start + i] !== id)) continue;
    found.set(last, (found.get(last) ?? 0) + bias);
  }
  return found;
};

/** By their tokens, so that of equal sequences the last one counts. */
const bySequence = (
  pairs: readonly (readonly [tokens: readonly number[], bias: number])[],
): ReadonlyMap<string, readonly [tokens: readonly number[], bias: number]> =>
  new Map(pairs.map((pair) => [pair[0].join(), pair]));

const scaled =
  (penalty: number) =>
  (score: number): number =>
    score < 0 ? score * penalty : score / penalty;

/** The rules that `settings` name, in transformers' order. */
const rulesOf = (prompt: Prompt, history: readonly number[], settings: DecodeSettings): Rule[] => {
  const { ids, paddingColumns = 0 } = prompt;
  const { sequenceBias, badWordsIds, minLength = 0, minNewTokens = 0, maxNewTokens } = settings;
  const { encoderRepetitionPenalty = 1, repetitionPenalty = 1 } = settings;
  const { noRepeatNgramSize, encoderNoRepeatNgramSize = 0 } = settings;
  const { forcedBosTokenId, forcedEosTokenId, exponentialDecayLengthPenalty: decay } = settings;
  const { suppressTokens, beginSuppressTokens } = settings;
  const eos = new Set(settings.eosIds);
  const rules: Rule[] = [];

  if (sequenceBias !== undefined) {
    const sequences = bySequence(sequenceBias);
    rules.push(({ tokens }) => {
      const biases = completions(tokens, sequences);
      return {
        kind: "score",
        ids: new Set(biases.keys()),
        raises: [...biases.values()].some((bias) => bias > 0),
        change: (score, id) => score + (biases.get(id) ?? 0),
      };
    });
  }
  if (encoderRepetitionPenalty !== 1) {
    const inPrompt = new Set(history);
    const change = scaled(1 / encoderRepetitionPenalty);
    const raises = encoderRepetitionPenalty > 1;
    rules.push(() => ({ kind: "score", ids: inPrompt, raises, change }));
  }
  if (repetitionPenalty !== 1) {
    const change = scaled(repetitionPenalty);
    const raises = repetitionPenalty < 1;
    // Padding has not been said.
    rules.push(({ tokens }) => ({
      kind: "score",
      ids: new Set(tokens.slice(paddingColumns)),
      raises,
      change,
    }));
  }
  if (noRepeatNgramSize > 0)
    rules.push(({ tokens }) => ban(bannedByNgrams(tokens, noRepeatNgramSize)));
  if (encoderNoRepeatNgramSize > 0)
    rules.push(({ tokens }) => ban(bannedByNgrams(tokens, encoderNoRepeatNgramSize, history)));
  if (badWordsIds !== undefined) {
    // A ban of eos would never let a text end.
    const words = badWordsIds.filter(([first = -1, ...more]) => more.length > 0 || !eos.has(first));
    const sequences = bySequence(words.map((word) => [word, -Infinity]));
    rules.push(({ tokens }) => ban(completions(tokens, sequences).keys()));
  }
  if (minLength > 0) rules.push(({ tokens }) => (tokens.length < minLength ? ban(eos) : undefined));
  if (minNewTokens > 0)
    rules.push(({ newTokens }) => (newTokens < minNewTokens ? ban(eos) : undefined));
  if (forcedBosTokenId !== undefined) {
    const only: Change = { kind: "only", ids: new Set(forcedBosTokenId) };
    rules.push(({ tokens }) => (tokens.length === 1 ? only : undefined));
  }
  if (forcedEosTokenId !== undefined) {
    const only: Change = { kind: "only", ids: new Set(forcedEosTokenId) };
    rules.push(({ newTokens }) => (newTokens === maxNewTokens - 1 ? only : undefined));
  }
  if (settings.removeInvalidValues === true) rules.push(() => ({ kind: "floor" }));
  if (decay !== undefined) {
    const [start, factor] = decay;
    rules.push(({ newTokens }) => {
      if (newTokens <= start) return undefined;
      const growth = factor ** (newTokens - start) - 1;
      const change = (score: number): number =>
        Number.isFinite(score) ? score + Math.abs(score) * growth : score;
      return { kind: "score", ids: eos, raises: growth > 0, change };
    });
  }
  if (suppressTokens !== undefined) {
    const suppressed = ban(suppressTokens);
    rules.push(() => suppressed);
  }
  if (beginSuppressTokens !== undefined) {
    const suppressed = ban(beginSuppressTokens);
    const length = paddingColumns + ids.length;
    const begin = length > 1 || forcedBosTokenId === undefined ? length : length + 1;
    rules.push(({ tokens }) => (tokens.length === begin ? suppressed : undefined));
  }
  return rules;
};

/** Tokens of two lists, both best first, as one such list of at most `limit`. */
const mergeBest = (a: ScoredTokens, b: ScoredTokens, limit: number): ScoredTokens => {
  const count = Math.min(limit, a.ids.length + b.ids.length);
  const [ids, scores] = [new Int32Array(count), new Float64Array(count)];
  let [i, j] = [0, 0];
  for (let place = 0; place < count; place++) {
    const [left = -Infinity, right = -Infinity] = [a.scores[i], b.scores[j]];
    const fromA =
      j >= b.ids.length ||
      (i < a.ids.length && (left > right || (left === right && (a.ids[i] ?? 0) < (b.ids[j] ?? 0))));
    const [source, at] = fromA ? [a, i++] : [b, j++];
    ids[place] = source.ids[at] ?? 0;
    scores[place] = source.scores[at] ?? -Infinity;
  }
  return { ids, scores };
};

const sortedTokens = (tokens: Iterable<readonly [id: number, score: number]>): ScoredTokens => {
  const list = [...tokens].filter(([, score]) => score > -Infinity);
  list.sort(([a, scoreOfA], [b, scoreOfB]) => scoreOfB - scoreOfA || a - b);
  return {
    ids: Int32Array.from(list, ([id]) => id),
    scores: Float64Array.from(list, ([, score]) => score),
  };
};

/** Applies changes one after the other; `offset` is added to the log-probabilities first. */
const applyChanges = (
  { ids, logProbs }: CandidateRow,
  changes: readonly Change[],
  { offset, limit }: { readonly offset: number; readonly limit: number },
): ScoredTokens => {
  const named = new Set<number>();
  for (const change of changes)
    if (change.kind !== "floor") for (const id of change.ids) named.add(id);
  const scores = new Map<number, number>();
  const others = { ids: new Int32Array(ids.length), scores: new Float64Array(ids.length) };
  let count = 0;
  ids.forEach((id, i) => {
    const score = (logProbs[i] ?? -Infinity) + offset;
    if (named.has(id)) scores.set(id, score);
    else {
      others.ids[count] = id;
      others.scores[count++] = score;
    }
  });
  let rest: "kept" | "gone" | "floor" = "kept";
  for (const change of changes) {
    if (change.kind === "floor") {
      for (const [id, score] of scores) scores.set(id, Math.max(score, LEAST_FLOAT32));
      if (rest === "gone") rest = "floor";
      continue;
    }
    if (change.kind === "only") {
      for (const id of scores.keys()) scores.set(id, -Infinity);
      rest = "gone";
    }
    for (const id of change.ids) {
      const score = scores.get(id);
      if (score === undefined) continue;
      if (change.kind === "score") scores.set(id, change.change(score, id));
      else scores.set(id, change.kind === "only" ? 0 : -Infinity);
    }
  }
  const unnamed = {
    ids: others.ids.subarray(0, count),
    scores: others.scores.subarray(0, count),
  };
  const tail =
    rest === "kept"
      ? unnamed
      : sortedTokens(rest === "gone" ? [] : Array.from(unnamed.ids, (id) => [id, LEAST_FLOAT32]));
  return mergeBest(sortedTokens(scores), tail, limit);
};

/**
 * The rules of `settings` for a prompt, in transformers' order.
 *
 * With one beam they see logits, with several log-probabilities, as in transformers: penalties that multiply depend on it.
 * Source: GenerationMixin._get_logits_processor and logits_process.py of transformers 5.23. Padding that a batch adds is not counted.
 */
export const tokenRules = (prompt: Prompt, settings: DecodeSettings): TokenRules => {
  const history = ngramHistory(prompt, settings.padId);
  const rules = rulesOf(prompt, history, settings);
  const multiplies =
    (settings.repetitionPenalty ?? 1) !== 1 ||
    (settings.encoderRepetitionPenalty ?? 1) !== 1 ||
    settings.exponentialDecayLengthPenalty !== undefined;
  const seesLogits = settings.numBeams === 1 && multiplies;
  return {
    after(newTokens) {
      const text = { tokens: [...history, ...newTokens], newTokens: newTokens.length };
      const changes = rules.flatMap((rule) => rule(text) ?? []);
      const named = new Set<number>();
      let everything = false;
      for (const change of changes) {
        if (change.kind !== "floor") for (const id of change.ids) named.add(id);
        const lowers = change.kind === "ban" || (change.kind === "score" && !change.raises);
        everything ||= !lowers;
      }
      const banned = changes.every(({ kind }) => kind === "ban");
      return {
        extra: everything ? Infinity : named.size,
        apply: (row, limit) =>
          banned
            ? allowedCandidates(row, named, limit)
            : applyChanges(row, changes, { offset: seesLogits ? row.normalizer : 0, limit }),
      };
    },
  };
};

/**
 * What all rules and the cuts of sampling leave of the candidates of a beam, best first; at most `limit` without sampling.
 *
 * Scores are normalized again where the settings say so: with one beam that changes no choice, and is left out.
 */
export const survivingTokens = (
  row: CandidateRow,
  rules: StepRules,
  settings: DecodeSettings,
  limit: number,
): ScoredTokens => {
  const normalizes = normalizesScores(settings);
  const allowed = rules.apply(row, settings.doSample || normalizes ? Infinity : limit);
  const cut = settings.doSample ? warp(allowed, settings) : allowed;
  if (!normalizes) return cut;
  const { ids, scores } = normalizeScores(cut);
  const most = settings.doSample ? ids.length : limit;
  return { ids: ids.subarray(0, most), scores: scores.subarray(0, most) };
};

/** Whether scores are normalized after the rules, which needs all of them. */
export const normalizesScores = ({ renormalizeLogits, numBeams }: DecodeSettings): boolean =>
  renormalizeLogits === true && numBeams > 1;
