import { didYouMean, UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson, readJsonObject, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { Precision } from "../core/precision.js";
import { defaultLossScaling, type LossScaling } from "./loss-scaling.js";
import { Reading, type NumberRange } from "./ds-config-reading.js";
import {
  bf16Keys,
  fp16Keys,
  optimizerParams,
  optimizerTypes,
  schedulerParams,
  schedulerTypes,
  switchedBlocks,
  idleBlocks,
  topLevelKeys,
  unbuiltBlocks,
  zeroKeys,
} from "./ds-config-keys.js";

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
  /** In one process stages 0 to 2 are the same thing. */
  readonly zeroStage: 0 | 1 | 2;
  readonly precision: Precision;
  /** How the loss is scaled in fp16. */
  readonly lossScaling: LossScaling;
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
  match("train_micro_batch_size_per_gpu", batch, "--batch");
  match("gradient_accumulation_steps", gradAcc, "--grad_acc");
  match(
    "train_batch_size",
    batch * gradAcc * processes,
    "--batch times --grad_acc times the processes",
  );
  match("gradient_clipping", maxGradNorm, "--max_grad_norm");
};

/** AdamW with the constants that the original's trainer uses. */
const adamDefaults = { betas: [0.9, 0.999], eps: 1e-8 } as const;

const readOptimizer = (
  file: JsonObject,
  { lr, weightDecay }: DeepSpeedSettings,
  reading: Reading,
): void => {
  const known = ["type", "params", "legacy_fusion"];
  const block = reading.block(file, "optimizer", { known, path: "optimizer" });
  if (block === undefined) return;
  const type = reading.word(block, "type", "optimizer.type", optimizerTypes);
  if (type !== undefined && type !== "Adam" && type !== "AdamW") {
    reading.later.push(`optimizer.type ${type}`);
    return;
  }
  const path = "optimizer.params";
  block["params"] ??= {};
  const params = reading.block(block, "params", { known: optimizerParams, path });
  if (params === undefined) return;
  const match = (
    key: string,
    expected: number | readonly number[],
    flag: string,
    absent: number | readonly number[],
  ): void => reading.match(params, key, { path: `${path}.${key}`, expected, flag, absent });
  match("lr", lr, "--lr", 1e-3);
  match("betas", adamDefaults.betas, "fixed", adamDefaults.betas);
  match("eps", adamDefaults.eps, "fixed", adamDefaults.eps);
  match("weight_decay", weightDecay, "--weight_decay", 0);
  // Decay inside the gradient is another optimizer than decoupled decay.
  for (const key of ["adam_w_mode", "bias_correction"])
    if (reading.boolean(params, key, `${path}.${key}`) === false)
      reading.later.push(`${path}.${key} false`);
};

const readScheduler = (
  file: JsonObject,
  { lr, warmup, totalSteps }: DeepSpeedSettings,
  reading: Reading,
): number | undefined => {
  const block = reading.block(file, "scheduler", { known: ["type", "params"], path: "scheduler" });
  if (block === undefined) return undefined;
  const type = reading.word(block, "type", "scheduler.type", schedulerTypes);
  if (type !== undefined && type !== "WarmupDecayLR") {
    reading.later.push(`scheduler.type ${type}`);
    return undefined;
  }
  const path = "scheduler.params";
  block["params"] ??= {};
  const params = reading.block(block, "params", { known: schedulerParams, path });
  if (params === undefined) return undefined;
  // A straight line up and a straight line down: the schedule that the run has without a file.
  if (params["warmup_type"] !== "linear")
    reading.later.push(`${path}.warmup_type ${quoteJson(params["warmup_type"] ?? "log")}`);
  reading.match(params, "warmup_min_lr", {
    path: `${path}.warmup_min_lr`,
    expected: 0,
    flag: "fixed",
  });
  reading.match(params, "warmup_max_lr", {
    path: `${path}.warmup_max_lr`,
    expected: lr,
    flag: "--lr",
    absent: 1e-3,
  });
  reading.match(params, "warmup_num_steps", {
    path: `${path}.warmup_num_steps`,
    expected: warmup,
    flag: "--warmup",
    absent: 1000,
  });
  if (totalSteps !== undefined)
    reading.match(params, "total_num_steps", {
      path: `${path}.total_num_steps`,
      expected: totalSteps,
      flag: "the updates of this run",
    });
  const total = params["total_num_steps"];
  if (total !== "auto" && !(Number.isSafeInteger(total) && (total as number) > 0))
    reading.faults.push(
      `${path}.total_num_steps: found ${quoteJson(total)}, expected a whole number or "auto"`,
    );
  return typeof total === "number" ? total : undefined;
};

const readZero = (
  file: JsonObject,
  { hiddenSize }: DeepSpeedSettings,
  reading: Reading,
): 0 | 1 | 2 => {
  const path = "zero_optimization";
  const zero = reading.block(file, path, { known: zeroKeys, path });
  if (zero === undefined) return 0;
  const stage = zero["stage"] ?? 0;
  if (stage === 3) reading.later.push(`${path}.stage 3`);
  else if (stage !== 0 && stage !== 1 && stage !== 2)
    reading.faults.push(`${path}.stage: found ${quoteJson(stage)}, expected 0, 1, 2 or 3`);
  for (const key of ["offload_optimizer", "offload_param"]) {
    const block = zero[key];
    const device = isJsonObject(block) ? (block["device"] ?? "none") : "none";
    if (device !== "none") reading.later.push(`${path}.${key} to ${quoteJson(device)}`);
  }
  for (const key of [
    "cpu_offload",
    "cpu_offload_param",
    "zero_quantized_weights",
    "zero_quantized_gradients",
  ])
    if (reading.boolean(zero, key, `${path}.${key}`) === true) reading.later.push(`${path}.${key}`);
  for (const key of ["zero_hpz_partition_size", "mics_shard_size"])
    if (typeof zero[key] === "number" && zero[key] > 1) reading.later.push(`${path}.${key}`);
  for (const key of ["zeropp_loco_param", "zenflow"])
    if (zero[key] !== undefined && zero[key] !== null) reading.later.push(`${path}.${key}`);
  if (hiddenSize !== undefined) {
    // Source: HfTrainerDeepSpeedConfig.trainer_config_finalize of transformers.
    const sizes = {
      reduce_bucket_size: hiddenSize * hiddenSize,
      stage3_prefetch_bucket_size: Math.floor(0.9 * hiddenSize * hiddenSize),
      stage3_param_persistence_threshold: 10 * hiddenSize,
    };
    for (const [key, size] of Object.entries(sizes)) if (zero[key] === "auto") zero[key] = size;
  }
  return stage === 1 || stage === 2 ? stage : 0;
};

/** The precision that the blocks fp16 and bf16 ask for; the run's own where they leave it open. */
const readPrecision = (
  file: JsonObject,
  { precision, precisions }: DeepSpeedSettings,
  reading: Reading,
): Precision => {
  const asked: Precision[] = [];
  const blocks = [
    ["fp16", fp16Keys],
    ["bf16", bf16Keys],
  ] as const;
  for (const [name, known] of blocks) {
    const block = reading.block(file, name, { known, path: name });
    if (block === undefined) continue;
    if (block["enabled"] === "auto") block["enabled"] = precision === name;
    const enabled = reading.boolean(block, "enabled", `${name}.enabled`);
    const contradicts =
      (enabled === true && precision !== undefined && precision !== name) ||
      (enabled === false && precision === name);
    if (contradicts)
      reading.faults.push(
        `${name}.enabled: found ${String(enabled)}, expected ${String(!enabled)} (--precision ${precision}) or "auto"`,
      );
    if (enabled === true) asked.push(name);
  }
  if (asked.length > 1)
    reading.faults.push("fp16 and bf16: found both enabled, expected one of them");
  const [chosen = precision ?? "fp32"] = asked;
  // Without the file's asking, --precision itself has been checked already.
  if (asked.length === 1 && !precisions.includes(chosen)) reading.later.push(`${chosen}.enabled`);
  return chosen;
};

/** Switches of the blocks fp16 and bf16 that change what is computed, and are not built. */
const unbuiltSwitches = {
  fp16: ["fp16_master_weights_and_grads"],
  bf16: ["bf16_master_weights_and_grads", "bf16_optimizer_states"],
} as const;

const readUnbuiltSwitches = (file: JsonObject, reading: Reading): void => {
  for (const [name, keys] of Object.entries(unbuiltSwitches)) {
    const block = file[name];
    if (!isJsonObject(block) || block["enabled"] !== true) continue;
    for (const key of keys)
      if (reading.boolean(block, key, `${name}.${key}`) === true)
        reading.later.push(`${name}.${key}`);
  }
};

/** How the block fp16 scales the loss. */
const readLossScaling = (file: JsonObject, reading: Reading): LossScaling => {
  const path = "fp16";
  const block = isJsonObject(file[path]) ? file[path] : {};
  const { lossScale, initialScalePower, lossScaleWindow, hysteresis, minLossScale } =
    defaultLossScaling;
  const number = (key: string, range: NumberRange): number =>
    reading.number(block, key, { path, ...range });
  return {
    lossScale: number("loss_scale", { least: 0, absent: lossScale, whole: false }),
    initialScalePower: number("initial_scale_power", { least: 0, absent: initialScalePower }),
    lossScaleWindow: number("loss_scale_window", { least: 1, absent: lossScaleWindow }),
    hysteresis: number("hysteresis", { least: 1, absent: hysteresis }),
    consecutiveHysteresis:
      reading.boolean(block, "consecutive_hysteresis", `${path}.consecutive_hysteresis`) ??
      defaultLossScaling.consecutiveHysteresis,
    minLossScale: number("min_loss_scale", { least: 0, absent: minLossScale, whole: false }),
  };
};

/** Top-level keys that nobody knows, which DeepSpeed passes over, and blocks about communication or monitoring alone. */
const warningsOf = (path: string, file: JsonObject): readonly string[] => {
  const keys = Object.keys(file);
  const unknown = keys.filter((key) => !(topLevelKeys as readonly string[]).includes(key));
  const idle = keys.filter((key) => (idleBlocks as readonly string[]).includes(key));
  const named = (key: string): string => {
    const hint = didYouMean(key, topLevelKeys);
    return hint === undefined ? key : `${key} (${hint})`;
  };
  return [
    ...(unknown.length > 0
      ? [
          `${path}: found ${unknown.map(named).join(", ")}, which DeepSpeed does not know: without effect`,
        ]
      : []),
    ...(isJsonObject(file["fp16"]) && file["fp16"]["auto_cast"] === true
      ? [`${path}: fp16.auto_cast has nothing to do here: inputs are token ids`]
      : []),
    ...(idle.length > 0
      ? [`${path}: ${idle.join(", ")} ${idle.length === 1 ? "has" : "have"} nothing to do here`]
      : []),
  ];
};

/**
 * Reads a DeepSpeed configuration, replaces "auto" by the run's values, and checks that file and flags agree.
 *
 * What the file says and the flags contradict is an error, as in transformers; what it leaves out, the flags decide,
 * but inside an optimizer or scheduler block DeepSpeed's own defaults do, and are compared. Over a precision that no
 * flag asks for, the file's word counts.
 * Source: HfTrainerDeepSpeedConfig of transformers 4.41; DeepSpeedConfig of DeepSpeed.
 * A top-level key that DeepSpeed does not know is a warning, as there; within a block it is an error, as there.
 * @throws {UserError} listing every unknown key of a block, wrong value and contradiction; or else what of it comes later
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
  readOptimizer(resolved, settings, reading);
  const totalSteps = readScheduler(resolved, settings, reading);
  const zeroStage = readZero(resolved, settings, reading);
  const precision = readPrecision(resolved, settings, reading);
  const lossScaling = readLossScaling(resolved, reading);
  readUnbuiltSwitches(resolved, reading);
  for (const key of switchedBlocks) {
    const block = resolved[key];
    if (isJsonObject(block) && block["enabled"] === true) reading.later.push(`${key}.enabled`);
  }
  for (const key of unbuiltBlocks) if (resolved[key] !== undefined) reading.later.push(key);
  if (reading.faults.length > 0)
    throw userErrorOfFaults(
      `Cannot use --ds_config ${path}`,
      reading.faults,
      [...reading.hints].join("\n") || undefined,
    );
  if (reading.later.length > 0)
    throw new UserError(
      `Cannot use --ds_config ${path}: found ${reading.later.join(", ")}, whose work comes in a later version, ` +
        `expected ZeRO stages 0 to 2 in ${settings.precisions.join(" or ")}`,
    );
  const warnings = warningsOf(path, resolved);
  return { path, zeroStage, precision, lossScaling, totalSteps, resolved, warnings };
};
