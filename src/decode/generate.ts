import { UserError } from "../core/errors.js";
import { nameRow } from "../core/row-names.js";
import { describeTokens, unknownIds } from "../core/unknown-tokens.js";
import { decodeBatch, newTokensOf } from "./decode-batch.js";
import type { Sequence, StopRule } from "./search.js";
import { checkDecodeSettings, type DecodeSettings } from "./settings.js";
import type { DecodeEngine, Prompt } from "./step-engine.js";

/** How far decoding is, in prompts. */
export interface GenerateProgress {
  /** Prompts whose search has ended, and all. */
  readonly finished: number;
  readonly total: number;
}

/** Prompts, how they are searched, and how many at once. */
export interface GenerateOptions {
  readonly engine: DecodeEngine;
  readonly prompts: readonly Prompt[];
  readonly settings: DecodeSettings;
  /** The most prompts decoded together. */
  readonly batch: number;
  /** The most token slots of a batch: prompts times (longest prompt + new tokens of all beams). Default 65,536. */
  readonly batchTokens?: number;
  /** Names the random numbers of sampling, together with a prompt's number. Default 0. */
  readonly seed?: number;
  /** Ends texts besides eos and length. */
  readonly stops?: StopRule | undefined;
  /** Ends a batch where it is. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the work between two batches. */
  readonly stop?: AbortSignal | undefined;
  /** What an earlier call has found, by prompt number; a batch of which all is known is not decoded again. */
  readonly known?: ReadonlyMap<number, readonly Sequence[]>;
  /** Which of the batches are decoded here: every `size`-th from the `rank`-th on; the others' prompts get no sequences. Default: all. */
  readonly share?: { readonly rank: number; readonly size: number } | undefined;
  /** Is told what a batch has found, by prompt number, and waited for. */
  readonly onBatch?: (found: ReadonlyMap<number, readonly Sequence[]>) => Promise<void>;
  readonly onProgress?: (progress: GenerateProgress) => void;
}

/**
 * Batches of prompt numbers: prompts by length, the longest first, so that little is padded and memory peaks at the start.
 *
 * A batch holds `batch` prompts at most, and no more than `batchTokens` slots unless a single prompt takes more.
 */
export const planDecodeBatches = (
  lengths: readonly number[],
  { batch, batchTokens, newSlots }: { batch: number; batchTokens: number; newSlots: number },
): readonly (readonly number[])[] => {
  const order = [...lengths.keys()].sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0) || a - b);
  const batches: number[][] = [];
  let slots = 0;
  for (const row of order) {
    const current = batches.at(-1);
    if (current && current.length < batch && (current.length + 1) * slots <= batchTokens)
      current.push(row);
    else {
      batches.push([row]);
      slots = (lengths[row] ?? 0) + newSlots;
    }
  }
  return batches;
};

/**
 * Decodes any number of prompts: per prompt its sequences, best first, in the order of the input.
 *
 * A text depends on model, prompt, settings and seed, not on `batch` (up to ties within float32 rounding). With `known`, what is
 * left is decoded in the batches of the first call, so that the results have its bits.
 * @throws {UserError} on settings out of range, an empty prompt, or a model that predicts NaN
 * @throws the reason of `signal` or `stop` once it is aborted; nothing of a batch that was cut short is told to `onBatch`
 */
export const generate = async ({
  engine,
  prompts,
  settings,
  batch,
  batchTokens = 65536,
  seed = 0,
  stops,
  signal,
  stop,
  known = new Map(),
  share = { rank: 0, size: 1 },
  onBatch,
  onProgress,
}: GenerateOptions): Promise<readonly (readonly Sequence[])[]> => {
  checkDecodeSettings(settings);
  requireTokens(prompts, engine.vocabularySize);
  requireRoom(prompts, settings);
  const { numBeams, numReturnSequences } = settings;
  const beams = Math.max(numBeams, numReturnSequences);
  const lengths = prompts.map(({ ids }) => ids.length);
  const found: (readonly Sequence[])[] = Array.from({ length: prompts.length }, () => []);
  const total = prompts.length;
  let finished = 0;
  const batches = planDecodeBatches(lengths, {
    batch,
    batchTokens,
    newSlots: beams * mostNewTokens(prompts, settings),
  });
  for (const [index, rows] of batches.entries()) {
    if (rows.every((row) => known.has(row))) {
      for (const row of rows) found[row] = known.get(row) ?? [];
      finished += rows.length;
      onProgress?.({ finished, total });
      continue;
    }
    if (index % share.size !== share.rank) continue;
    stop?.throwIfAborted();
    const results = await decodeBatch(
      engine,
      rows.flatMap((row) => prompts[row] ?? []),
      {
        settings,
        rows,
        seed,
        stops,
        signal,
        onFinished: () => onProgress?.({ finished: ++finished, total }),
      },
    );
    rows.forEach((row, place) => {
      found[row] = results[place] ?? [];
    });
    await onBatch?.(new Map(rows.map((row) => [row, found[row] ?? []])));
  }
  return found;
};

/** The most new tokens that any of the prompts has room for. */
export const mostNewTokens = (
  prompts: readonly Prompt[],
  settings: Pick<DecodeSettings, "maxNewTokens" | "maxLength">,
): number => prompts.reduce((most, prompt) => Math.max(most, newTokensOf(prompt, settings)), 1);

/** @throws {UserError} naming every prompt that fills `maxLength` alone */
const requireRoom = (prompts: readonly Prompt[], settings: DecodeSettings): void => {
  const faults = prompts.flatMap((prompt, row) =>
    newTokensOf(prompt, settings) > 0
      ? []
      : [
          `Cannot decode ${nameRow(row)}: found ${String((prompt.paddingColumns ?? 0) + prompt.ids.length)} tokens, expected fewer than the ${String(settings.maxLength)} of max_length`,
        ],
  );
  if (faults.length > 0)
    throw new UserError(
      faults.join("\n"),
      "max_length counts the prompt: give --max_new_tokens, which does not",
    );
};

/** @throws {UserError} naming every prompt that is empty or holds an id that the model has no row for */
const requireTokens = (prompts: readonly Prompt[], vocabularySize: number): void => {
  const faults = prompts.flatMap(({ ids }, row) => {
    if (ids.length === 0)
      return [`Cannot decode ${nameRow(row)}: found no tokens, expected one at least`];
    const unknown = unknownIds(ids, vocabularySize);
    return unknown.size === 0
      ? []
      : [
          `Cannot decode ${nameRow(row)}: found ${describeTokens(unknown)}, expected ids from 0 to ${String(vocabularySize - 1)}`,
        ];
  });
  if (faults.length > 0)
    throw new UserError(
      faults.join("\n"),
      "Begin prompts with the model's BOS token, and take tokenizer and model from one folder",
    );
};
