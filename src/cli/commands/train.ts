import type { ProgressUi } from "../../report/progress.js";
import type { ProcessGroup } from "../../distributed/process-group.js";
import { readDeepSpeedConfig, type DeepSpeedConfig } from "../../distributed/ds-config.js";
import type { InterruptSignal } from "../../train/interrupt.js";
import { defineCommand, type Command } from "../command.js";
import { autotuningTrial, recordTrialMemory, type AutotuningTrial } from "../autotuning-trial.js";
import { trainReads } from "../train-reads.js";
import { precisions } from "../../core/precision.js";
import { trainFlags } from "../train-flags.js";
import { readTrainOptions, type TrainOptions } from "../train-options.js";

/** What the library does for `hira train`; `interrupt` asks to finish the step, save, and return. */
export interface TrainWork {
  /** Trains, loads the best checkpoint, answers the test split. */
  train(
    options: TrainOptions,
    ui: ProgressUi,
    interrupt: InterruptSignal,
    group: ProcessGroup,
  ): Promise<void>;
  /** --ckpt: answers a test split with what a run has trained. `columns` are those that a table may take. */
  evaluate(
    options: TrainOptions,
    ui: ProgressUi,
    interrupt: InterruptSignal,
    among: { readonly columns: number; readonly group: ProcessGroup },
  ): Promise<void>;
  /** --dataset_analysis: prints the token lengths of the splits. */
  analyseDataset(options: TrainOptions, ui: ProgressUi, columns: number): Promise<void>;
}

/** The --ds_config of the options, checked against them; undefined where none is given, or nothing is trained. */
const readDsConfig = async (
  options: TrainOptions,
  processes: number,
): Promise<DeepSpeedConfig | undefined> =>
  options.dsConfig === undefined || options.ckpt !== undefined || options.datasetAnalysis
    ? undefined
    : readDeepSpeedConfig(options.dsConfig, {
        batch: options.batch,
        gradAcc: options.gradAcc,
        processes,
        lr: options.lr,
        weightDecay: options.weightDecay,
        warmup: options.warmup,
        maxGradNorm: options.maxGradNorm,
        precision: options.flags.precision === null ? undefined : options.precision,
        precisions,
        ...(options.maxSteps === undefined ? {} : { totalSteps: options.maxSteps }),
      });

/** A few updates that are measured: nothing is evaluated, saved or answered. */
const trialOptions = (options: TrainOptions, { steps }: AutotuningTrial): TrainOptions => ({
  ...options,
  maxSteps: steps,
  evalStrategy: "no",
  measuresOnly: true,
});

/** `hira train`, which is train_hira.py: trains, or with --ckpt evaluates. */
export const trainCommand = (work: TrainWork): Command =>
  defineCommand({
    name: "train",
    summary: "Train an adapter, or with --ckpt evaluate one",
    description:
      "Takes every flag of train_hira.py, also shortened as far as it stays clear. Trains, keeps the checkpoint with the lowest validation loss, and answers the test split with it.",
    replaces: "train_hira.py",
    flags: trainFlags,
    reads: trainReads,
    finishOnSignal: true,
    runsInProcesses: true,
    examples: [
      [
        "hira --peft_type=hira --model=DIR --dataset=common_170k --r_ab=32 --lr=1e-3 --batch=16 --seed=36",
        "train HiRA on the commonsense data",
      ],
      [
        "hira --dataset=boolq --batch=16 --beam_size=4 --ckpt=results_hira/RUN",
        "answer BoolQ with the run's best checkpoint",
      ],
    ],
    async run({
      values,
      given,
      typed,
      modelFolder,
      context: { ui, interrupt, outputIsLog, terminal, joinProcesses },
      faults,
      throwFaults,
    }) {
      const options = { ...readTrainOptions(values, { given, typed }, faults), modelFolder };
      throwFaults();
      const group = await joinProcesses();
      const deepSpeed = await readDsConfig(options, group.size);
      for (const warning of deepSpeed?.warnings ?? []) ui.warn(warning);
      const trial = autotuningTrial(process.env);
      const trains = options.ckpt === undefined && !options.datasetAnalysis;
      const asked = trial && trains ? trialOptions(options, trial) : options;
      const run: TrainOptions =
        deepSpeed === undefined
          ? asked
          : {
              ...asked,
              precision: deepSpeed.precision,
              lossScaling: deepSpeed.lossScaling,
              adam: deepSpeed.adam,
              scheduler: deepSpeed.scheduler,
              zero: deepSpeed.zero,
              // A trial is shorter than the schedule of its file.
              ...(!asked.measuresOnly && { deepSpeed }),
            };
      if (!run.datasetAnalysis) outputIsLog();
      if (run.datasetAnalysis) {
        // The length of rows and the like are looked at by one process.
        if (group.rank === 0) await work.analyseDataset(run, ui, terminal.columns);
      } else if (run.ckpt === undefined) {
        await work.train(run, ui, interrupt, group);
        if (trial) await recordTrialMemory(trial, group);
      } else await work.evaluate(run, ui, interrupt, { columns: terminal.columns, group });
    },
  });
