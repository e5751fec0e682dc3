import { planned, type Planned } from "../runtime/compute-plan.js";
import { existsSync } from "node:fs";
import { requireWritablePath } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import { ownDatasetOf, type AnsweredSet } from "../datasets/own-answers.js";
import { findDataset, findSingleDataset } from "../datasets/registry.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { decidedByFirst } from "../distributed/shared-work.js";
import { threadsEach } from "../distributed/threads-each.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { commonsenseNames, isCommonsenseName } from "../score/commonsense.js";
import { compareScorings, type ScoringComparison } from "../score/likelihood.js";
import type { OutputFile } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { requireKnownTokensOf } from "../train/known-tokens.js";
import type { BaseStorage } from "../train/load-base.js";
import { learnsClasses } from "../train/training-data.js";
import type { TaskName } from "../train/tasks/task.js";
import { deviceChecks } from "./device-checks.js";
import { evaluateClasses } from "./evaluate-classes.js";
import { isAnswered, loadAllSets, requireAnswersOf, requireAnswersTo } from "./answered-files.js";
import { placeOfAnswers, type AnswersPlaceOptions } from "./answers-place.js";
import { analyseAdapter, writeAdapterAnalysis } from "./adapter-analysis.js";
import { answerByLikelihood } from "./answer-likelihood.js";
import type { ChoiceForm } from "./choices.js";
import { asTrained, loadOwnQuestions, type OwnQuestionSettings } from "./own-questions.js";
import { openTrained, type TrainedModel } from "./open-trained.js";
import type { GivenFlags } from "./recorded-flags.js";
import { announceDecoding, answerSet, openPredictor } from "./predict.js";
import type { PredictionSettings } from "./prediction-settings.js";
import { loadQuestions, type Questions } from "./questions.js";
import { requireSameAnswering } from "./same-everywhere.js";
import { evaluationFileName, likelihoodFileName, writeAnswers } from "./evaluation-files.js";
import type { Scoring } from "./scorings.js";

/** What an evaluation is asked for: a model, its adapter, the rows, and how they are answered. */
export interface EvaluationRunOptions
  extends PredictionSettings, OwnQuestionSettings, BaseStorage, Omit<AnswersPlaceOptions, "ckpt"> {
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  /** The base model that somebody has named; see findBase. */
  readonly modelName: string | undefined;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  /** Those of them that have to have an effect. */
  readonly typed?: ReadonlySet<string>;
  readonly dataset: string;
  /** A file of rows; see learnsClasses. */
  readonly datasetFile?: string | undefined;
  readonly task?: TaskName | undefined;
  /** Tokens of a row with a class, at most. */
  readonly maxLength?: number | undefined;
  /** How the rows are answered: by what is written, by the likelihood of each answer, or by both. Default: "generate". */
  readonly scoring?: Scoring;
  /** Which form of an answer is asked for its likelihood. Default: "words". */
  readonly choices?: ChoiceForm;
  readonly computeRank: boolean;
  readonly computeNorm: boolean;
}

/**
 * --ckpt: answers the test split of a set (common_all: of eight) with what was trained, into files beside it, or where
 * placeOfAnswers says.
 *
 * A file that is there with all rows that are asked for is left as it is and its set skipped, unless --compute_rank or --compute_norm asks for more. compat
 * "exit": a folder that is not there is a warning, as in the original.
 *
 * Resolves to what was found by likelihood, compared with what was written where that is there too.
 * @param group the processes that share the rows; process 0 alone looks at files of answers, and writes them
 * @param originalFlags line 1 of the files, for the flags that the trained model brings with it
 * @throws {UserError} if there is nothing complete to load, or the data are missing
 */
export const runEvaluation = async (
  options: EvaluationRunOptions,
  originalFlags: (replaced: Readonly<Record<string, unknown>>) => OutputFile["flags"],
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup = soloGroup,
): Promise<readonly ScoringComparison[]> => {
  const threads = options.threads ?? (await threadsEach(group));
  return planned({ ...options, threads }, (known) =>
    evaluate(known, originalFlags, ui, interrupt, group),
  );
};

const evaluate = async (
  options: EvaluationRunOptions & Planned,
  originalFlags: (replaced: Readonly<Record<string, unknown>>) => OutputFile["flags"],
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup,
): Promise<readonly ScoringComparison[]> => {
  const { ckpt: named, scoring = "generate" } = options;
  if (named === undefined) throw new RangeError("Cannot evaluate without a checkpoint");
  if (learnsClasses(options)) {
    await evaluateClasses(
      { ...options, ckpt: named, tellCheck: deviceChecks(options, ui) },
      (path, model, rows) => writeAnswers(path, model, originalFlags, rows),
      ui,
      interrupt,
      group,
    );
    return [];
  }
  const sets = answeredSetsOf(options.dataset);
  const analyses = options.computeRank || options.computeNorm;
  // The original knows folders alone.
  const ckpt = options.compat.has("exit")
    ? named
    : await findOnHub(named, { purpose: "trained", ui });
  const place = await placeOfAnswers({ ...options, ckpt });
  const pathOf = (name: string): string => place.fileOf(evaluationFileName(options, name));
  const judgedOf = (name: string): string => place.fileOf(likelihoodFileName(options, name));
  const todo = await decidedByFirst(group, async () => {
    if (!existsSync(ckpt)) {
      const missing = `Cannot evaluate --ckpt=${ckpt}: found no such folder, expected a run's folder, one of its checkpoints, or a peft adapter`;
      if (!options.compat.has("exit")) throw new UserError(missing);
      ui.warn(missing);
      return undefined;
    }
    if (scoring !== "generate") requireChoices(sets);
    const missing = async (path: (name: string) => string): Promise<readonly string[]> => {
      const found: string[] = [];
      for (const dataset of sets) {
        const file = path(dataset.name);
        if (dataset.kind === "file") await requireAnswersTo(dataset, file);
        if (place.isElsewhere) await requireAnswersOf(ckpt, file);
        if (analyses || !(await isAnswered(file, dataset, options, ui))) found.push(dataset.name);
      }
      return found;
    };
    const names = {
      generate: scoring === "loglik" ? [] : await missing(pathOf),
      loglik: scoring === "generate" ? [] : await missing(judgedOf),
    };
    // Before hours of decoding.
    if (names.generate.length + names.loglik.length > 0)
      await requireWritablePath(
        pathOf(answersNameOf(sets, options)),
        "Put the answers elsewhere: --output_folder=DIR, or for one set --output_file=FILE",
      );
    return names;
  });
  if (!todo) return [];
  const isFirst = group.rank === 0;
  const compare = (): Promise<readonly ScoringComparison[]> =>
    scoring === "generate" || !isFirst ? Promise.resolve([]) : compareAll(sets, judgedOf, pathOf);
  if (todo.generate.length + todo.loglik.length === 0) return compare();
  const model = await openTrained({ ...options, ckpt, tokenizer: "required" }, ui);
  if (analyses && isFirst)
    await writeAnalysis(model, pathOf(answersNameOf(sets, options)), options, ui);
  const { tokenizer } = model.base;
  if (!tokenizer) throw new RangeError("Cannot answer rows without a tokenizer");
  const { folder } = model.base;
  const kind = model.adapted?.adapter.method.kind;
  const settings = { ...options, useInput: usesInput(model, options.useInput) };
  const advice = model.runFlags && "as where this run was trained";
  const amongGenerated = ({ name }: AnsweredSet): boolean => todo.generate.includes(name);
  const amongJudged = ({ name }: AnsweredSet): boolean => todo.loglik.includes(name);
  const all = sets.filter((set) => amongGenerated(set) || amongJudged(set));
  const asked = await loadAllSets(all, (dataset) =>
    dataset.kind === "file"
      ? loadOwnQuestions(dataset, model.base, tokenizer, asTrained(options, model.runFlags))
      : loadQuestions(dataset, model.base, tokenizer, settings, advice),
  );
  for (const { remarks = [] } of asked) for (const remark of remarks) ui.line(remark);
  const unknown = asked.flatMap((questions) => questions.unknown);
  requireKnownTokensOf(model.base, unknown, { usesTokenizer: true });
  if (todo.generate.length > 0)
    announceDecoding(all.filter(amongGenerated), { folder, tokenizer, kind }, options, ui);
  for (const { warnings } of asked) for (const warning of warnings) ui.warn(warning);
  const write = (path: string, rows: OutputFile["rows"], accuracyPercent?: number) =>
    writeAnswers(path, model, originalFlags, rows, accuracyPercent);
  await requireSameAnswering(group, model, asked.map(rowsAsked), settingsAsked(options));
  const tellCheck = deviceChecks(options, ui);
  const generated = asked.filter(({ dataset }) => amongGenerated(dataset));
  if (generated.length > 0) {
    const predictor = await openPredictor(
      model.base,
      tokenizer,
      model.adapted,
      generated.map(({ dataset }) => dataset),
      { ...options, tellCheck },
    );
    try {
      for (const questions of generated) {
        if (isFirst) interrupt.throwIfRequested();
        const path = pathOf(questions.dataset.name);
        const writeRows = (rows: OutputFile["rows"], accuracyPercent?: number): Promise<void> =>
          write(path, rows, accuracyPercent);
        await answerSet(questions, predictor, options, {
          ...{ path, write: writeRows, ui, interrupt, group },
        });
        ui.line(`Wrote ${path}`);
      }
    } finally {
      predictor.dispose();
    }
  }
  const judged = asked.filter(({ dataset }) => amongJudged(dataset));
  await answerByLikelihood(judged, model, {
    form: options.choices ?? "words",
    ...{ batch: options.batch, plan: options.plan, tellCheck, tokenizer, ui, interrupt, group },
    write: async ({ dataset: { name } }, rows) => {
      await write(judgedOf(name), rows);
      ui.line(`Wrote ${judgedOf(name)}`);
    },
  });
  return compare();
};

const rowsAsked = ({ dataset: { name }, rows, prompts }: Questions) => ({
  ...{ name, rows },
  encoded: prompts,
});

/** What of the settings decides what is answered. */
const settingsAsked = (options: EvaluationRunOptions): Readonly<Record<string, unknown>> => ({
  "--batch": options.batch,
  "--seed": options.seed ?? null,
  "--scoring": options.scoring ?? "generate",
  "--choices": options.choices ?? "words",
  "how answers are decoded": [
    ...[options.decoding, options.beamSize ?? null, options.maxNewTokens ?? null],
    ...[options.doSample, options.temperature, options.topK, options.topP],
    [...options.compat].sort(),
  ],
});

/** The sets that a --dataset stands for, or the file. @throws {UserError} if it is neither */
const answeredSetsOf = (name: string): readonly AnsweredSet[] => {
  const own = ownDatasetOf(name);
  if (own) return [own];
  const found = findDataset(name);
  return found.kind === "group" ? found.members.map(findSingleDataset) : [found];
};

/** What the files of answers are named after: a group by itself, a file without its folder and ending. */
const answersNameOf = (
  sets: readonly AnsweredSet[],
  { dataset }: Pick<EvaluationRunOptions, "dataset">,
): string => {
  const [first] = sets;
  return first?.kind === "file" ? first.name : dataset;
};

/** @throws {UserError} on sets that have no answers to choose from */
const requireChoices = (sets: readonly AnsweredSet[]): void => {
  const without = sets
    .filter(({ kind, name }) => kind === "file" || !isCommonsenseName(name))
    .map(({ name }) => name);
  if (without.length === 0) return;
  throw new UserError(
    `Cannot answer ${without.join(", ")} with --scoring: found no answers to choose from, expected one of ${commonsenseNames.join(", ")}`,
    "Leave --scoring out",
  );
};

/** The sets whose answers by likelihood are there, compared with those that were written, where they are. */
const compareAll = async (
  sets: readonly AnsweredSet[],
  judgedOf: (name: string) => string,
  generatedOf: (name: string) => string,
): Promise<readonly ScoringComparison[]> => {
  const found: ScoringComparison[] = [];
  for (const { name } of sets) {
    if (!isCommonsenseName(name)) continue;
    const [likelihood, written] = [judgedOf(name), generatedOf(name)];
    const generated = written !== likelihood && existsSync(written) ? written : undefined;
    found.push(await compareScorings(name, { likelihood, generated }));
  }
  return found;
};

/** Whether inputs stand in the prompts: as in the run that trained the model, else as the command line says. */
const usesInput = ({ runFlags }: TrainedModel, asked: boolean): boolean =>
  runFlags ? runFlags.use_input === true : asked;

const writeAnalysis = async (
  { base, adapted, folder }: TrainedModel,
  answers: string,
  options: EvaluationRunOptions,
  ui: ProgressUi,
): Promise<void> => {
  if (!adapted)
    throw new UserError(
      `Cannot analyse ${folder}: found a plain model, expected something trained`,
      "--compute_rank and --compute_norm look at an adapter's update",
    );
  const analysis = await analyseAdapter(base.weights, adapted, {
    rank: options.computeRank,
    norm: options.computeNorm,
    progress: ui,
  });
  const path = `${answers.replace(/(?:_eval)?(?:\.jsonl)?$/, "")}_adapter.json`;
  await writeAdapterAnalysis(path, analysis);
  ui.line(`Wrote ${path}`);
};
