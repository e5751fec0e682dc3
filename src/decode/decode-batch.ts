import { UserError } from "../core/errors.js";
import { randomStream } from "../core/random.js";
import { nameRow } from "../core/row-names.js";
import { beamSearch } from "./beam-search.js";
import { sampleTokens } from "./sample.js";
import {
  candidateRow,
  type CandidateRow,
  type Search,
  type Sequence,
  type StepRandom,
  type StopRule,
} from "./search.js";
import type { DecodeSettings } from "./settings.js";
import type { DecodeEngine, Prompt } from "./step-engine.js";

/** How prompts that are decoded together are searched, and when a text ends. */
export interface BatchOptions {
  readonly settings: DecodeSettings;
  /** The numbers of the prompts in the whole input: with `seed` they name their random numbers. */
  readonly rows: readonly number[];
  readonly seed: number;
  /** Ends texts besides eos and length. */
  readonly stops?: StopRule | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the place of a prompt when it leaves the batch. */
  readonly onFinished?: (place: number) => void;
}

/** The search that `settings` ask for. Random numbers are keyed by (seed, row, text, step), never by the batch. */
const startSearch = (
  prompt: Prompt,
  settings: DecodeSettings,
  { row, seed, stops }: { row: number; seed: number; stops: StopRule | undefined },
): Search => {
  const stream =
    (text: number): StepRandom =>
    (step) =>
      randomStream(seed, `decode:${String(row)}:${String(text)}`, step);
  if (settings.numBeams > 1) return beamSearch(prompt, settings, stream(0), stops);
  const streams = Array.from({ length: settings.numReturnSequences }, (_, text) => stream(text));
  return sampleTokens(prompt, settings, streams, stops);
};

/** How many new tokens a prompt has room for; less than 1 where it fills `maxLength` alone. */
export const newTokensOf = (
  { ids, paddingColumns = 0 }: Prompt,
  { maxNewTokens, maxLength = Infinity }: Pick<DecodeSettings, "maxNewTokens" | "maxLength">,
): number => Math.min(maxNewTokens, maxLength - paddingColumns - ids.length);

/** @throws {UserError} if the model gave no numbers for a beam of row `row` */
const requireNumbers = ({ logProbs }: CandidateRow, row: number): void => {
  if (!Number.isNaN(logProbs[0] ?? NaN)) return;
  throw new UserError(
    `Cannot decode ${nameRow(row)}: found NaN among the model's predictions, expected numbers`,
    "The weights or the adapter hold NaN or infinite values; load an earlier checkpoint",
  );
};

/**
 * Decodes one batch: every prompt has its own search, and leaves the batch when it has ended.
 *
 * Returns the sequences of every prompt, best first, in the order of `prompts`.
 * @throws the reason of `signal` once it is aborted, between steps at the latest
 * @throws {UserError} if the model predicts NaN
 */
export const decodeBatch = async (
  engine: DecodeEngine,
  prompts: readonly Prompt[],
  { settings, rows, seed, stops, signal, onFinished }: BatchOptions,
): Promise<readonly (readonly Sequence[])[]> => {
  const own = prompts.map((prompt) => ({
    ...settings,
    maxNewTokens: newTokensOf(prompt, settings),
  }));
  const searches = prompts.map((prompt, i) =>
    startSearch(prompt, own[i] ?? settings, { row: rows[i] ?? i, seed, stops }),
  );
  let live = searches.map((search, place) => ({ search, place }));
  const numBeams = searches[0]?.width ?? 1;
  const width = (): number =>
    Math.min(engine.vocabularySize, Math.max(...live.map(({ search }) => search.wanted)));
  if (live.length === 0) return [];

  signal?.throwIfAborted();
  const started = await engine.start(prompts, {
    numBeams,
    maxNewTokens: own.reduce((most, { maxNewTokens }) => Math.max(most, maxNewTokens), 1),
    width: width(),
    signal,
  });
  let { candidates } = started;
  const { run } = started;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const tokens: number[] = [];
      const parents: number[] = [];
      const staying = live.flatMap(({ search, place }, at) => {
        const next = search.advance((beam) => {
          const row = candidateRow(candidates, at, beam);
          requireNumbers(row, rows[place] ?? place);
          return row;
        });
        if (!next) {
          onFinished?.(place);
          return [];
        }
        tokens.push(...next.tokens);
        parents.push(...next.parents);
        return [at];
      });
      if (staying.length === 0) break;
      if (staying.length < live.length) {
        run.keep(staying);
        live = staying.flatMap((at) => live[at] ?? []);
      }
      candidates = await run.step({
        tokens: Int32Array.from(tokens),
        parents: Int32Array.from(parents),
        width: width(),
      });
    }
  } finally {
    run.dispose();
  }
  return searches.map((search) => search.results());
};
