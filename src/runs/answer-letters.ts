import { UserError } from "../core/errors.js";
import { choiceLetters } from "../datasets/mmlu.js";
import type { AnsweredSet } from "../datasets/own-answers.js";
import { questionOf } from "../datasets/rows.js";
import { defaultDecodeSettings } from "../decode/settings.js";
import type { Candidates, DecodeEngine } from "../decode/step-engine.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { generateKeeping, type Answerer } from "./kept-answers.js";
import type { Questions } from "./questions.js";

/** Whether a set is answered by the letter of the largest logit; --decoding=greedy writes one token instead, whatever it is. */
export const answersByLetters = (
  { member }: AnsweredSet,
  { decoding }: { readonly decoding: "default" | "greedy" },
): boolean => member.answers === "letters" && decoding === "default";

/** @throws {UserError} if the vocabulary has no token for one of the letters */
const letterIdsOf = (tokenizer: Tokenizer): readonly number[] => {
  const ids = choiceLetters.map((letter) => tokenizer.idOf(letter));
  const missing = choiceLetters.filter((_, i) => ids[i] === undefined);
  if (missing.length > 0)
    throw new UserError(
      `Cannot answer with letters: found no token ${missing.join(", ")} in the tokenizer of ${tokenizer.source.name}, expected one each`,
      "--decoding=greedy writes a token instead",
    );
  return ids.filter((id) => id !== undefined);
};

/** An engine whose vocabulary is `ids`: what a prompt goes on with is the best of these, of equal ones the first. */
const amongTokens = (engine: DecodeEngine, ids: readonly number[]): DecodeEngine => ({
  vocabularySize: engine.vocabularySize,
  async start(prompts, options) {
    const width = engine.vocabularySize;
    const { run, candidates: all } = await engine.start(prompts, { ...options, width });
    const found: Candidates = {
      beams: 1,
      width: ids.length,
      logProbs: new Float32Array(prompts.length * ids.length),
      ids: new Int32Array(prompts.length * ids.length),
      normalizers: all.normalizers,
    };
    for (const [i] of prompts.entries()) {
      const own = all.ids.subarray(i * width, (i + 1) * width);
      const kept = ids
        .map((id) => ({ id, logProb: all.logProbs[i * width + own.indexOf(id)] ?? -Infinity }))
        .sort((a, b) => b.logProb - a.logProb);
      for (const [place, { id, logProb }] of kept.entries()) {
        found.ids[i * ids.length + place] = id;
        found.logProbs[i * ids.length + place] = logProb;
      }
    }
    return { run, candidates: found };
  },
});

/**
 * Answers questions of multiple choice: of the tokens A, B, C and D the one that is likeliest behind the prompt.
 *
 * Source: the mmlu branch of train_hira.py, which compares the answer with the target as it stands.
 * @returns the rows in the file's order, how many of them are right in percent, and `done`, see generateKeeping
 * @throws {UserError} if the tokenizer has no such tokens
 */
export const answerByLetters = async (
  { dataset, rows, prompts }: Questions,
  {
    engine,
    tokenizer,
    answerer,
  }: {
    readonly engine: DecodeEngine;
    readonly tokenizer: Tokenizer;
    readonly answerer: Answerer;
  },
  {
    path,
    batch,
    ui,
    interrupt,
    group,
  }: {
    readonly path: string;
    readonly batch: number;
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
    /** The processes that answer together; process 0 has all rows. */
    readonly group?: ProcessGroup | undefined;
  },
): Promise<{
  readonly rows: readonly PredictionRow[];
  readonly accuracyPercent: number;
  readonly done: () => Promise<void>;
}> => {
  const ids = letterIdsOf(tokenizer);
  const { sequences, done } = await generateKeeping(
    {
      engine: amongTokens(engine, ids),
      prompts,
      settings: { ...defaultDecodeSettings, maxNewTokens: 1, eosIds: [], padId: tokenizer.padId },
      batch,
    },
    { path, told: dataset.name, unit: "rows", answerer, stopStrings: [], ui, interrupt, group },
  );
  const answers = rows.map((row, i): PredictionRow => {
    const letter = ids.indexOf(sequences[i]?.[0]?.tokens[0] ?? -1);
    return { context: questionOf(row), pred: choiceLetters[letter] ?? "", gt: row.target };
  });
  const right = answers.filter(({ pred, gt }) => pred === gt).length;
  return { rows: answers, accuracyPercent: (100 * right) / answers.length, done };
};
