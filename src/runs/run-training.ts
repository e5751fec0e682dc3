import { threadsEach } from "../distributed/threads-each.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { followTraining, requireSameEverywhere } from "./follow-training.js";
import { planned, type Planned } from "../runtime/compute-plan.js";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { requireFolderToBe } from "../core/atomic-file.js";
import { findDataset, hasAnswers } from "../datasets/registry.js";
import { isClassifier } from "../models/classifier.js";
import { initializationWords } from "../peft/options/initialization.js";
import { writeOutputJsonl, type OutputFile, type PredictionRow } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import { trainableLine } from "../report/python-format.js";
import { writeRunConfig } from "../report/run-config.js";
import { createRunFolder, type RunFolderOptions } from "../report/run-folder.js";
import { recordResumption, writeRunJson, type RunFacts } from "../report/run-json.js";
import { lockRunFolder } from "../report/run-lock.js";
import { currentMemoryBytes } from "../runtime/memory.js";
import { activities, InterruptedError, type InterruptSignal } from "../train/interrupt.js";
import type { LossSession } from "../train/loss-session.js";
import { requireModelName } from "../train/model-name.js";
import { valuesOnHost } from "../train/parameters.js";
import { learningRate } from "../train/schedule.js";
import { planTraining, scheduleOf } from "../train/training-settings.js";
import { checkBeforeTraining } from "./check-training.js";
import { classifyRows } from "./classify.js";
import { countParameters, outputConfigOf } from "./output-header.js";
import { answerSet, openPredictor } from "./predict.js";
import {
  foundPaths,
  prepareRun,
  requirePeftType,
  type NamedOptions,
  type PreparedRun,
} from "./prepare-run.js";
import type { RunRecord, TrainingRunOptions } from "./training-run-options.js";
import type { Questions } from "./questions.js";
import { openAdapterStart, withAdapterFlags } from "./start-adapter.js";
import { trainingSummary } from "./training-summary.js";
import { trainWithReports, type ReportedTraining } from "./report-training.js";
import {
  describeSurroundings,
  earlierAnswers,
  isLongerRun,
  isNewestWanted,
  openResumedRun,
  removeLaterCheckpoints,
  requireSameRun,
  resumeCommand,
  type ResumedRun,
} from "./resume-run.js";

/** A new folder of its own for the run, with the records of how it was asked for. */
const openNewRun = async (
  options: TrainingRunOptions,
  name: RunFolderOptions,
  facts: RunFacts,
): Promise<Pick<ResumedRun, "runFolder" | "release">> => {
  const runFolder = await createRunFolder(options.outputFolder, name, facts.startedAt);
  const release = await lockRunFolder(runFolder);
  await writeRunJson(runFolder, facts);
  await writeRunConfig(runFolder, facts.flags, await foundPaths(options, facts));
  return { runFolder, release };
};

/** The folder of the run that goes on, once it is sure that this is the same run, or the same and longer. */
const continueRun = async (
  resumed: ResumedRun,
  { facts, data, adapter }: PreparedRun,
  options: TrainingRunOptions,
  { defaults }: RunRecord,
  ui: ProgressUi,
): Promise<void> => {
  const { runFolder, checkpoint } = resumed;
  const plan = planTraining(options, data.train.length);
  const { totalSteps } = plan;
  const isPruned = adapter.pruning !== undefined;
  const isLonger = isLongerRun(resumed, { totalSteps, isPruned });
  requireSameRun(facts, resumed, { defaults, isLonger });
  const changes = describeSurroundings(facts, resumed);
  if (changes.length > 0)
    ui.warn(`The last bits may differ from an uninterrupted run's: ${changes.join(", ")}`);
  const { max_steps = null, epoch = null } = facts.flags;
  const changed = isLonger && { changed: { max_steps, epoch } };
  await recordResumption(runFolder, { ...facts, ...changed, step: checkpoint.step });
  await removeLaterCheckpoints(resumed, ui);
  ui.line(`Going on from ${checkpoint.folder}`);
  if (!isLonger) return;
  await writeRunConfig(runFolder, facts.flags, await foundPaths(options, facts));
  const before = checkpoint.state.totalSteps;
  const answers = earlierAnswers(before);
  if (resumed.hasEnded) await rename(join(runFolder, "output.jsonl"), join(runFolder, answers));
  const rate = learningRate(scheduleOf(options, plan), checkpoint.step);
  ui.line(
    `The run is longer now, ${String(totalSteps)} updates in place of ${String(before)}: the learning rate follows the schedule of ${String(totalSteps)}, and is ${String(Number(rate.toPrecision(4)))} at step ${String(checkpoint.step + 1)}${resumed.hasEnded ? `; the answers so far are in ${answers}` : ""}`,
  );
};

/**
 * A whole run: trains, loads the best checkpoint, answers the test split, writes the run folder. Where nothing is answered (see
 * hasAnswers) output.jsonl ends with its header.
 *
 * With `adapter` the parameters start as they stand in one that was trained, and what it is counts in place of the flags.
 * With `resumeFromCheckpoint` a run that was stopped goes on in its folder, to the bits it would have had without the stop.
 * More updates than it had make it longer: they follow the schedule of all of them.
 * In a group of processes this is what process 0 does, and the others help it: see followTraining.
 * Resolves to the run folder. A signal ends the run with a checkpoint and without answers.
 * @throws {UserError} on what the person can mend; nothing is written before model, data and flags have been checked
 */
export const runTraining = async (
  options: TrainingRunOptions,
  record: RunRecord,
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup = soloGroup,
): Promise<string> => {
  const threads = options.threads ?? (await threadsEach(group));
  return planned({ ...options, threads, processes: group.size }, async (asked) => {
    if (group.rank === 0) return trainOn(asked, record, ui, interrupt, group);
    await followTraining(asked, record, ui, interrupt, group);
    return asked.outputFolder;
  });
};

/** The same where the device is open already; its owner disposes of it. */
export const trainOn = async (
  asked: TrainingRunOptions & Planned,
  askedRecord: RunRecord,
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup = soloGroup,
): Promise<string> => {
  const { resumeFromCheckpoint, outputFolder, adapter } = asked;
  // A run that goes on has its adapter in its checkpoint: what it was started from may be gone.
  const isNamed = resumeFromCheckpoint !== undefined && !isNewestWanted(resumeFromCheckpoint);
  const first =
    adapter === undefined || isNamed ? undefined : await openAdapterStart(adapter, asked, ui);
  const resumed =
    resumeFromCheckpoint === undefined
      ? undefined
      : await openResumedRun(
          resumeFromCheckpoint,
          outputFolder,
          () => nameOf({ ...asked, ...first?.options }),
          ui,
        );
  let release = resumed?.release;
  let checked: LossSession | undefined;
  try {
    const start =
      adapter !== undefined && isNamed && resumed
        ? await openAdapterStart(resumed.checkpoint.folder, asked, ui)
        : first;
    const record = start ? withAdapterFlags(askedRecord, start) : askedRecord;
    const unnamed = { ...asked, ...start?.options };
    const options = { ...unnamed, modelName: requireModelName(unnamed.modelName) };
    const peftType = requirePeftType(options.peftType);
    if (!resumed) await requireFolderToBe(outputFolder);
    if (hasAnswers(options.dataset)) findDataset(options.dataset);
    const prepared = await prepareRun(peftType, options, record, ui, { from: start, group });
    await requireSameEverywhere(group, prepared.facts);
    const { trainable, all } = countParameters(prepared.base, prepared.adapter);
    ui.line(trainableLine(trainable, all));
    interrupt.throwIfRequested();
    const { session, device } = await checkBeforeTraining(prepared, options, ui);
    checked = session;
    interrupt.throwIfRequested();
    const facts = { ...prepared.facts, device };
    if (resumed) await continueRun(resumed, { ...prepared, facts }, options, record, ui);
    const opened = resumed ?? (await openNewRun(options, nameOf(options), facts));
    ({ release } = opened);
    const { runFolder } = opened;
    ui.line(`Run folder: ${runFolder}`);
    const resumeFrom = resumed?.checkpoint;
    const job = {
      ...{ ...prepared, session, options, record, runFolder, resumeFrom },
      ...{ ui, interrupt, group },
    };
    await finishRun(job);
    return runFolder;
  } finally {
    checked?.dispose();
    await release?.();
  }
};

/** What enters the name of a run's folder. @throws {UserError} without a model or a method */
const nameOf = (options: TrainingRunOptions): RunFolderOptions => {
  const { init, train } = initializationWords(options);
  return {
    ...options,
    modelName: requireModelName(options.modelName),
    peftType: requirePeftType(options.peftType),
    initAb: init,
    trainAb: train,
  };
};

/** Trains, and unless a signal ends that, answers the test split and writes output.jsonl. */
const finishRun = async (
  job: ReportedTraining &
    Pick<PreparedRun, "questions" | "classQuestions"> & {
      readonly options: NamedOptions & Planned;
      readonly record: RunRecord;
    },
): Promise<void> => {
  const { base, adapter, questions, options, record, runFolder, ui, interrupt } = job;
  const result = await interrupt.during(activities.training, () => trainWithReports(job));
  if (result.interrupted) {
    const { steps, totalSteps, inEvaluation, isSaved } = result;
    ui.line(
      `Stopped after ${String(steps)} of ${String(totalSteps)} steps${inEvaluation ? ", in the validation" : ""}; ${isSaved ? `to go on: ${resumeCommand(runFolder)}` : "there is nothing to go on from"}`,
    );
    return;
  }
  const { best } = result.evaluations;
  if (best && result.bestCheckpoint !== undefined)
    ui.line(
      `Loading best model from ${join(runFolder, result.bestCheckpoint)} (score: ${String(best.metric)}).`,
    );

  const memUsedMiB = Math.round(currentMemoryBytes() / 2 ** 20);
  const path = join(runFolder, "output.jsonl");
  const write = (rows: OutputFile["rows"]): Promise<void> =>
    writeOutputJsonl(path, {
      flags: record.originalFlags,
      adapterConfig: outputConfigOf(base, adapter, options.modelName, {
        ...initializationWords(options),
        targetModules: options.targetModules.split(",").map((name) => name.trim()),
      }),
      summary: { memUsedMiB, trainSeconds: result.trainSeconds },
      parameters: countParameters(base, adapter),
      rows,
    });
  const rows = questions ? await answerTest(questions, job, { path, write }) : await classify(job);
  if (!questions) await write(rows);
  const { labels } = job.data;
  const run = { runFolder, result, adapter, options, rows, labels };
  for (const line of await trainingSummary(run)) ui.line(line);
};

/** The test rows of a set with classes, classified; none where there are none. */
const classify = async ({
  base,
  adapter,
  store,
  data,
  classQuestions,
  options,
  runFolder,
  ui,
  interrupt,
  group,
}: Parameters<typeof finishRun>[0]): Promise<readonly PredictionRow[]> => {
  const { model } = base.folder;
  if (!classQuestions || !isClassifier(model)) return [];
  const { weights } = base;
  try {
    return await classifyRows(
      { model, weights, adapter, store, padId: data.padId },
      classQuestions,
      {
        ...{ batch: options.batch, plan: options.plan, ui, interrupt, group },
      },
    );
  } catch (error) {
    if (error instanceof InterruptedError) ui.line(`To go on: ${resumeCommand(runFolder)}`);
    throw error;
  }
};

const answerTest = async (
  questions: Questions,
  {
    base,
    adapter,
    store,
    options,
    ui,
    interrupt,
    runFolder,
    group,
  }: ReportedTraining & { readonly options: TrainingRunOptions & Planned },
  to: {
    readonly path: string;
    readonly write: (rows: OutputFile["rows"]) => Promise<void>;
  },
) => {
  if (!base.tokenizer) throw new RangeError("Cannot answer rows without a tokenizer");
  const predictor = await openPredictor(
    base,
    base.tokenizer,
    { adapter, values: valuesOnHost(store) },
    [questions.dataset],
    options,
  );
  try {
    return await answerSet(questions, predictor, options, { ...to, ui, interrupt, group });
  } catch (error) {
    if (error instanceof InterruptedError) ui.line(`To go on: ${resumeCommand(runFolder)}`);
    throw error;
  } finally {
    predictor.dispose();
  }
};
