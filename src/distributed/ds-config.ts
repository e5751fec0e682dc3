import { didYouMean, userErrorOfFaults } from "../core/errors.js";
import { quoteJson, readJsonObject, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { Precision } from "../core/precision.js";
import { readAutotuning } from "./autotuning-settings.js";
import { idleKeys, refusedBlocks, refusedSwitches, topLevelKeys } from "./ds-config-keys.js";
import { readOptimizer, readScheduler, type AdamSettings } from "./ds-config-optimizer.js";
import { readLossScaling, readPrecision } from "./ds-config-precision.js";
import { Reading } from "./ds-config-reading.js";
import { readZero } from "./ds-config-zero.js";
import type { LossScaling } from "./loss-scaling.js";
import type { SchedulerSettings } from "./scheduler-settings.js";
import type { AskedZeroSettings } from "./zero-settings.js";

/** What the run was asked for, which a configuration file must agree with. */
export interface DeepSpeedSettings {
  readonly batch: number;
  readonly gradAcc: number;
  readonly processes: number;
  readonly lr: number;
  readonly weightDecay: number;
  /** Updates. */
  readonly warmup: number;
  readonly maxGradNorm: number;
  /** Undefined: not asked for, so that the file decides. */
  readonly precision: Precision | undefined;
  /** What this version can compute in. */
  readonly precisions: readonly Precision[];
  /** Undefined: not known yet; then the values that follow from it stay "auto". */
  readonly hiddenSize?: number;
  /** Updates of the whole run. Undefined: not known yet. */
  readonly totalSteps?: number;
}

/** A configuration that this version can run. */
export interface DeepSpeedConfig {
  readonly path: string;
  readonly zero: AskedZeroSettings;
  readonly precision: Precision;
  /** How the loss is scaled in fp16. */
  readonly lossScaling: LossScaling;
  /** Undefined: the file leaves the optimizer to the run. */
  readonly adam: AdamSettings | undefined;
  /** Undefined: the file leaves the schedule to the run. */
  readonly scheduler: SchedulerSettings | undefined;
  /** The updates that its scheduler counts on; they must be those of the run. */
  readonly totalSteps: number | undefined;
  /** The file with every "auto" replaced that is known by now. */
  readonly resolved: JsonObject;
  /** What of the file has no effect here, a line each. */
  readonly warnings: readonly string[];
}

const readBatch = (
  file: Record<string, unknown>,
  settings: DeepSpeedSettings,
  reading: Reading,
): void => {
  const { batch, gradAcc, processes, maxGradNorm } = settings;
  const match = (key: string, expected: number, flag: string): void =>
    reading.match(file, key, { path: key, expected, flag });
  const { train_batch_size: whole, train_micro_batch_size_per_gpu: micro } = file;
  if (Array.isArray(micro))
    reading.hints.add("Several batch sizes are tried by hira launch --autotuning");
  match("train_micro_batch_size_per_gpu", batch, "--batch");
  match("gradient_accumulation_steps", gradAcc, "--grad_acc");
  const unit = (typeof micro === "number" ? micro : batch) * processes;
  if (typeof whole === "number" && whole % unit !== 0)
    reading.faults.push(
      `train_batch_size: found ${quoteJson(whole)}, expected a multiple of ${String(unit)}, the rows of a micro-batch in ${processes === 1 ? "one process" : `${String(processes)} processes`}`,
    );
  else
    match(
      "train_batch_size",
      batch * gradAcc * processes,
      "--batch times --grad_acc times the processes",
    );
  match("gradient_clipping", maxGradNorm, "--max_grad_norm");
};

/** The blocks and keys at the top that have no reader of their own. */
const readOthers = (file: JsonObject, reading: Reading): void => {
  for (const [key, reason] of Object.entries(refusedSwitches)) {
    const block = file[key];
    if (!isJsonObject(block)) {
      if (block !== undefined && block !== null)
        reading.faults.push(`${key}: found ${quoteJson(block)}, expected an object`);
    } else if (reading.boolean(block, "enabled", `${key}.enabled`) === true)
      reading.refuse(`${key}.enabled`, true, "false", reason);
  }
  for (const [key, reason] of Object.entries(refusedBlocks))
    if (file[key] !== undefined) reading.faults.push(`${key}: found it, expected none: ${reason}`);
  const known = ["grad_accum_dtype"];
  const types = reading.block(file, "data_types", { known, path: "data_types" });
  const sums = types?.["grad_accum_dtype"] ?? "fp32";
  if (sums !== "fp32")
    reading.refuse(
      "data_types.grad_accum_dtype",
      sums,
      '"fp32"',
      "gradients are added up in float32",
    );
  for (const key of idleKeys) {
    if (file[key] === "auto") {
      reading.faults.push(`${key}: found "auto", expected a value`);
      reading.hintAtAuto("auto");
    }
    reading.noteIdle(key, file[key]);
  }
};

/** Lines about top-level keys that nobody knows, which DeepSpeed passes over, and about those that have nothing to do here. */
const warningsOf = (path: string, file: JsonObject, reading: Reading): readonly string[] => {
  const unknown = Object.keys(file).filter(
    (key) => !(topLevelKeys as readonly string[]).includes(key),
  );
  const named = (key: string): string => {
    const hint = didYouMean(key, topLevelKeys);
    return hint === undefined ? key : `${key} (${hint})`;
  };
  const { idle, lines } = reading;
  return [
    ...(unknown.length > 0
      ? [`found ${unknown.map(named).join(", ")}, which DeepSpeed does not know: without effect`]
      : []),
    ...lines,
    ...(idle.length > 0
      ? [
          `${idle.join(", ")} ${idle.length === 1 ? "has" : "have"} nothing to do here: about speed, memory and logs of DeepSpeed's own engine, not about the numbers`,
        ]
      : []),
  ].map((line) => `${path}: ${line}`);
};

/**
 * Reads a DeepSpeed configuration, replaces "auto" by the run's values, and checks that file and flags agree.
 *
 * What the file says and the flags contradict is an error, as in transformers; what it leaves out, the flags decide,
 * but inside an optimizer or scheduler block DeepSpeed's own defaults do, and are compared. Over a precision that no
 * flag asks for, and over betas, eps and the form of the schedule, which no flag says, the file's word counts.
 * Source: HfTrainerDeepSpeedConfig of transformers 4.41; DeepSpeedConfig of DeepSpeed.
 * A top-level key that DeepSpeed does not know is a warning, as there; within a block it is an error, as there.
 * @throws {UserError} listing every unknown key of a block, wrong value, contradiction, and what cannot be followed
 */
export const readDeepSpeedConfig = async (
  path: string,
  settings: DeepSpeedSettings,
): Promise<DeepSpeedConfig> => {
  const resolved = structuredClone(await readJsonObject(path)) as Record<string, unknown>;
  // DeepSpeed's older name of the block.
  if (resolved["bf16"] === undefined && resolved["bfloat16"] !== undefined) {
    resolved["bf16"] = resolved["bfloat16"];
    delete resolved["bfloat16"];
  }
  const reading = new Reading();
  readBatch(resolved, settings, reading);
  const adam = readOptimizer(resolved, settings, reading);
  const schedule = readScheduler(resolved, settings, reading);
  const zero = readZero(resolved, settings, reading);
  const precision = readPrecision(resolved, settings, reading);
  const lossScaling = readLossScaling(resolved, reading);
  if (readAutotuning(resolved, reading).enabled)
    reading.lines.push(
      "autotuning acts in hira launch --autotuning=tune|run; this run trains as its flags say",
    );
  readOthers(resolved, reading);
  if (reading.faults.length > 0)
    throw userErrorOfFaults(
      `Cannot use --ds_config ${path}`,
      reading.faults,
      [...reading.hints].join("\n") || undefined,
    );
  return {
    ...{ path, zero, precision, lossScaling, adam, resolved },
    scheduler: schedule?.scheduler,
    totalSteps: schedule?.totalSteps,
    warnings: warningsOf(path, resolved, reading),
  };
};
