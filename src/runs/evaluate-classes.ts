import type { ComputePlan } from "../runtime/compute-plan.js";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { requireWritablePath } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { decidedByFirst } from "../distributed/shared-work.js";
import { isClassifier } from "../models/classifier.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { readOutputJsonl, type PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { loadClassQuestions } from "../train/class-data.js";
import type { TellCheck } from "../train/device-check.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { requireKnownTokensOf } from "../train/known-tokens.js";
import { storeOf } from "../train/parameters.js";
import type { DataSettings } from "../train/loaded-data.js";
import { requireAnswersOf } from "./answered-files.js";
import { placeOfAnswers, type AnswersPlaceOptions } from "./answers-place.js";
import { classifyRows, classScoreLine } from "./classify.js";
import { requireSameAnswering } from "./same-everywhere.js";
import { openTrained, type TrainedModel, type TrainedModelOptions } from "./open-trained.js";

/** What a classifier's test is asked for. */
export interface ClassEvaluationOptions
  extends
    Omit<TrainedModelOptions, "ckpt" | "tokenizer">,
    Omit<AnswersPlaceOptions, "ckpt" | "compat">,
    Pick<DataSettings, "dataset" | "dataDir" | "numWorkers"> {
  readonly datasetFile?: string | undefined;
  /** Tokens of a row, at most; undefined: as in the run that is tested. */
  readonly maxLength?: number | undefined;
  readonly batch: number;
  readonly limit: number | undefined;
  readonly plan: ComputePlan;
  /** Where the device is compared with the CPU first, who is told. */
  readonly tellCheck?: TellCheck | undefined;
}

/** Of a set its name, of a file the name without ending. */
const nameOf = (dataset: string): string => basename(dataset).replace(/\..*$/, "");

/**
 * `--ckpt` on rows with classes: writes the likeliest label of each, with the probabilities of all, and tells accuracy, F1 and Matthews'
 * correlation. A file that has all rows stays.
 *
 * @param write the evaluation file, header included
 * @param group the processes that share the rows; process 0 alone looks at files of answers, and writes them
 * @throws {UserError} if what was trained is no classifier, or the rows have other labels
 */
export const evaluateClasses = async (
  options: ClassEvaluationOptions & { readonly ckpt: string },
  write: (path: string, model: TrainedModel, rows: readonly PredictionRow[]) => Promise<void>,
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup = soloGroup,
): Promise<void> => {
  const ckpt = await findOnHub(options.ckpt, { purpose: "trained", ui });
  const place = await placeOfAnswers({ ...options, ckpt });
  const name = nameOf(options.dataset);
  const path = place.fileOf(`output_${String(options.loadOrder)}_${name}_eval.jsonl`);
  if (group.rank === 0) {
    if (place.isElsewhere) await requireAnswersOf(ckpt, path);
    await requireWritablePath(
      path,
      "Put the answers elsewhere: --output_folder=DIR or --output_file=FILE",
    );
  }
  const trained = await openTrained(
    { ...options, ckpt, tokenizer: "required", encoder: "allowed" },
    ui,
  );
  const { base, adapted } = trained;
  const { model } = base.folder;
  if (!isClassifier(model))
    throw new UserError(
      `Cannot classify with ${options.ckpt}: found a language model, expected a classifier`,
      "Train one with --dataset=sst2, or with --task=sequence-classification on a file of rows with text and label",
    );
  const { max_length: ofRun } = trained.runFlags ?? {};
  const maxLength = options.maxLength ?? (typeof ofRun === "number" ? ofRun : undefined);
  const settings = { ...options, maxLength, datasetRatio: 1, validation: undefined };
  const questions = await loadClassQuestions(settings, base, model.labels);
  requireKnownTokensOf(base, questions.unknown, { usesTokenizer: true });
  for (const warning of questions.warnings) ui.warn(warning);
  const done = group.rank === 0 ? await rowsThere(path) : undefined;
  const isDone = await decidedByFirst(group, () =>
    Promise.resolve(done !== undefined && done.length >= questions.rows.length),
  );
  if (isDone) ui.line(`${path}: File exists, skipped.`);
  const store = adapted && storeOf(adapted, options.plan.device);
  const { adapter } = adapted ?? {};
  const padId = base.tokenizer?.padId ?? 0;
  if (!isDone) {
    const asked = { name, rows: questions.rows, encoded: questions.encoded };
    await requireSameAnswering(group, trained, [asked], { "--batch": options.batch });
  }
  const rows = isDone
    ? (done ?? [])
    : await classifyRows({ model, weights: base.weights, adapter, store, padId }, questions, {
        ...{ batch: options.batch, plan: options.plan, ui, interrupt, group },
      });
  if (group.rank > 0) return;
  if (!isDone) {
    await write(path, trained, rows);
    ui.line(`Wrote ${path}`);
  }
  ui.line(await classScoreLine(name, rows));
};

/** The rows of an evaluation file; undefined where there is none that can be read. */
const rowsThere = async (path: string): Promise<readonly PredictionRow[] | undefined> => {
  if (!existsSync(path)) return undefined;
  try {
    return (await readOutputJsonl(path)).rows;
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
};
