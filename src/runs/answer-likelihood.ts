import { noLoss, type EncodedRow } from "../datasets/encoded-rows.js";
import { questionOf } from "../datasets/rows.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { CommonsenseName } from "../score/commonsense.js";
import { likeliest } from "../score/likelihood.js";
import { encodeTexts } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { activities, type InterruptSignal } from "../train/interrupt.js";
import { choicesOf, type Choice, type ChoiceForm } from "./choices.js";
import { openLikelihood, type LikelihoodModel } from "./label-losses.js";
import type { Answerer } from "./kept-answers.js";
import type { Questions } from "./questions.js";

/** A set whose answers' likelihoods are asked for: `rows` has a row an answer, question after question. */
interface Asked {
  readonly questions: Questions;
  readonly choices: readonly (readonly Choice[])[];
  readonly rows: readonly EncodedRow[];
}

/**
 * The answers to each row behind the prompt that generation has.
 *
 * An answer's tokens are those that it has by itself, as in training, and without eos; lm-evaluation-harness encodes prompt and answer in
 * one, and counts white space between them with the answer.
 */
const askedOf = async (
  questions: Questions,
  tokenizer: Tokenizer,
  form: ChoiceForm,
): Promise<Asked> => {
  const { dataset, rows, prompts, path } = questions;
  const choices = choicesOf(dataset.name as CommonsenseName, rows, { form, path });
  const texts = [...new Set(choices.flatMap((each) => each.map(({ text }) => text)))];
  const { table } = await encodeTexts(tokenizer, texts);
  const idsOf = new Map(texts.map((text, i) => [text, table.at(i)]));
  return {
    questions,
    choices,
    rows: choices.flatMap((each, row) =>
      each.map(({ text }): EncodedRow => {
        const prompt = prompts[row]?.ids ?? new Int32Array();
        const answer = idsOf.get(text) ?? new Int32Array();
        const ids = new Int32Array(prompt.length + answer.length);
        ids.set(prompt);
        ids.set(answer, prompt.length);
        const labels = ids.slice().fill(noLoss, 0, prompt.length);
        return { row, ids, contextLength: prompt.length, labels };
      }),
    ),
  };
};

/** The rows of a set's file: pred is the likeliest answer by sum, in the form of a target; the likelihoods stand beside it. */
const judge = async (
  { questions, choices, rows: asked }: Asked,
  likelihood: LikelihoodModel,
  {
    batch,
    ui,
    interrupt,
  }: { readonly batch: number; readonly ui: ProgressUi; readonly interrupt: InterruptSignal },
): Promise<readonly PredictionRow[]> => {
  const { dataset, rows } = questions;
  const progress = ui.decoding(asked.length, `${dataset.name} by likelihood`, "answers");
  let shown = 0;
  try {
    const losses = await likelihood.lossesOf(asked, {
      batch,
      signal: interrupt.stop,
      onProgress: (done) => {
        progress.advance(done - shown);
        shown = done;
      },
    });
    let next = 0;
    return rows.map((row, i): PredictionRow => {
      const own = choices[i] ?? [];
      const ofOwn = losses.slice(next, (next += own.length));
      const found = {
        // 1e-6 is what float32 sums of this size can tell.
        logProbs: ofOwn.map((each) => -Number(each.reduce((x, y) => x + y, 0).toFixed(6))),
        tokens: ofOwn.map(({ length }) => length),
        bytes: own.map(({ text }) => Buffer.byteLength(text)),
      };
      return {
        context: questionOf(row),
        pred: own[likeliest(found, "sum")]?.answer ?? "",
        gt: row.target,
        more: {
          choices: own.map(({ word }) => word),
          loglik: found.logProbs,
          ...{ tokens: found.tokens, bytes: found.bytes },
        },
      };
    });
  } finally {
    progress.done();
  }
};

/**
 * Answers sets by the likelihood of each answer, and writes a file for each; see likeliest.
 *
 * Rows at a time are --batch, divided as for generation.
 * @throws {UserError} before anything is computed, if the rows of a set have no answers of that form
 * @throws {InterruptedError} after a signal; a set that is not done is left without a file
 */
export const answerByLikelihood = async (
  sets: readonly Questions[],
  model: Answerer,
  {
    form,
    batch,
    threads,
    tokenizer,
    write,
    ui,
    interrupt,
  }: {
    readonly form: ChoiceForm;
    readonly batch: number;
    readonly threads: number | undefined;
    readonly tokenizer: Tokenizer;
    readonly write: (questions: Questions, rows: readonly PredictionRow[]) => Promise<void>;
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
  },
): Promise<void> => {
  if (sets.length === 0) return;
  const asked: Asked[] = [];
  for (const questions of sets) asked.push(await askedOf(questions, tokenizer, form));
  const all = asked.flatMap(({ rows }) => rows);
  const likelihood = await openLikelihood(model, all, { batch, threads });
  try {
    for (const each of asked) {
      const { evaluationBatchDivisor } = each.questions.dataset.member;
      const rows = await interrupt.during(activities.loading, () =>
        judge(each, likelihood, {
          batch: Math.max(1, Math.floor(batch / evaluationBatchDivisor)),
          ...{ ui, interrupt },
        }),
      );
      await write(each.questions, rows);
    }
  } finally {
    likelihood.dispose();
  }
};
