import type { ComputePlan } from "../runtime/compute-plan.js";
import { noLoss, type EncodedRow } from "../datasets/encoded-rows.js";
import { questionOf } from "../datasets/rows.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import type { PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { CommonsenseName } from "../score/commonsense.js";
import { likeliest } from "../score/likelihood.js";
import { encodeTexts } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TellCheck } from "../train/device-check.js";
import { activities, type InterruptSignal } from "../train/interrupt.js";
import { choicesOf, isJoint, type Choice, type ChoiceForm } from "./choices.js";
import { openLikelihood, type LikelihoodModel } from "./label-losses.js";
import type { Answerer } from "./kept-answers.js";
import type { Questions } from "./questions.js";

/** A set whose answers' likelihoods are asked for: `rows` has a row an answer, question after question. */
interface Asked {
  readonly questions: Questions;
  readonly choices: readonly (readonly Choice[])[];
  readonly rows: readonly EncodedRow[];
}

/** A row of a prompt and one answer behind it, which alone has labels. */
const rowOf = (row: number, prompt: Int32Array, answer: Int32Array): EncodedRow => {
  const ids = new Int32Array(prompt.length + answer.length);
  ids.set(prompt);
  ids.set(answer, prompt.length);
  const labels = ids.slice().fill(noLoss, 0, prompt.length);
  return { row, ids, contextLength: prompt.length, labels };
};

/**
 * The answers to each row behind the prompt that generation has.
 *
 * An answer's tokens are those that it has by itself, as in training, and without eos.
 */
const encodeApart = async (
  { prompts }: Questions,
  choices: Asked["choices"],
  tokenizer: Tokenizer,
): Promise<readonly EncodedRow[]> => {
  const texts = [...new Set(choices.flatMap((each) => each.map(({ text }) => text)))];
  const { table } = await encodeTexts(tokenizer, texts);
  const idsOf = new Map(texts.map((text, i) => [text, table.at(i)]));
  const none = new Int32Array();
  return choices.flatMap((each, row) =>
    each.map(({ text }) => rowOf(row, prompts[row]?.ids ?? none, idsOf.get(text) ?? none)),
  );
};

/**
 * The same with prompt and answer in one piece: white space at the prompt's end counts with the answer, whose tokens are those of the whole behind as
 * many as the prompt has by itself.
 *
 * Source: _encode_pair of lm-evaluation-harness (lm_eval/api/model.py).
 */
const encodeJointly = async (
  { prompts }: Questions,
  choices: Asked["choices"],
  tokenizer: Tokenizer,
): Promise<readonly EncodedRow[]> => {
  const contexts = prompts.map(({ ids }) => {
    const text = tokenizer.decode([...ids]);
    const before = text.trimEnd();
    return { before, space: text.slice(before.length) };
  });
  const wholes = choices.flatMap((each, row) => {
    const { before = "", space = "" } = contexts[row] ?? {};
    return each.map(({ text }) => before + space + text);
  });
  const [alone, whole] = [
    await encodeTexts(
      tokenizer,
      contexts.map(({ before }) => before),
    ),
    await encodeTexts(tokenizer, wholes),
  ];
  let next = 0;
  return choices.flatMap((each, row) =>
    each.map(() => {
      const ids = whole.table.at(next++);
      const length = Math.min(alone.table.at(row).length, ids.length - 1);
      return rowOf(row, ids.subarray(0, length), ids.subarray(length));
    }),
  );
};

const askedOf = async (
  questions: Questions,
  tokenizer: Tokenizer,
  form: ChoiceForm,
): Promise<Asked> => {
  const { dataset, rows, path } = questions;
  const choices = choicesOf(dataset.name as CommonsenseName, rows, { form, path });
  const encode = isJoint(form) ? encodeJointly : encodeApart;
  return { questions, choices, rows: await encode(questions, choices, tokenizer) };
};

/** The rows of a set's file: pred is the likeliest answer by sum, in the form of a target; the likelihoods stand beside it. */
const judge = async (
  { questions, choices, rows: asked }: Asked,
  likelihood: LikelihoodModel,
  {
    batch,
    ui,
    interrupt,
    group,
  }: {
    readonly batch: number;
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
    readonly group: ProcessGroup;
  },
): Promise<readonly PredictionRow[]> => {
  const { dataset, rows } = questions;
  const progress = ui.decoding(asked.length, `${dataset.name} by likelihood`, "answers");
  let shown = 0;
  try {
    const losses = await likelihood.lossesOf(asked, {
      batch,
      // Of several processes the first one ends the others.
      signal: group.rank === 0 ? interrupt.stop : undefined,
      group,
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
        characters: own.map(({ text }) => [...text].length),
      };
      return {
        context: questionOf(row),
        pred: own[likeliest(found, "sum")]?.answer ?? "",
        gt: row.target,
        more: {
          choices: own.map(({ word }) => word),
          loglik: found.logProbs,
          ...{ tokens: found.tokens, bytes: found.bytes, characters: found.characters },
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
    plan,
    tellCheck,
    tokenizer,
    write,
    ui,
    interrupt,
    group = soloGroup,
  }: {
    readonly form: ChoiceForm;
    readonly batch: number;
    readonly plan: ComputePlan;
    /** Where the device is compared with the CPU first, who is told. */
    readonly tellCheck?: TellCheck | undefined;
    readonly tokenizer: Tokenizer;
    /** Called in process 0 alone. */
    readonly write: (questions: Questions, rows: readonly PredictionRow[]) => Promise<void>;
    /** The processes that share the answers of each set. Default: this one alone. */
    readonly group?: ProcessGroup | undefined;
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
  },
): Promise<void> => {
  if (sets.length === 0) return;
  const asked: Asked[] = [];
  for (const questions of sets) asked.push(await askedOf(questions, tokenizer, form));
  const all = asked.flatMap(({ rows }) => rows);
  const likelihood = await openLikelihood(model, all, { batch, plan, tellCheck });
  try {
    for (const each of asked) {
      const { evaluationBatchDivisor } = each.questions.dataset.member;
      const judged = interrupt.during(activities.loading, () =>
        judge(each, likelihood, {
          batch: Math.max(1, Math.floor(batch / evaluationBatchDivisor)),
          ...{ ui, interrupt, group },
        }),
      );
      const rows = await judged.catch((error: unknown) => {
        const { name } = each.questions.dataset;
        if (interrupt.stop.aborted)
          ui.line(`${name} by likelihood: stopped; the same command begins this set again`);
        throw error;
      });
      if (group.rank === 0) await write(each.questions, rows);
    }
  } finally {
    likelihood.dispose();
  }
};
