import { quoteJson, type JsonObject } from "../core/json-file.js";
import {
  optimizerParams,
  optimizerTypes,
  schedulerParams,
  schedulerTypes,
} from "./ds-config-keys.js";
import type { Reading } from "./ds-config-reading.js";
import type { SchedulerSettings } from "./scheduler-settings.js";

/** What AdamW is asked for beside its rate and its decay, which the flags say. */
export interface AdamSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** False: decay is a part of the gradient. */
  readonly isDecoupled: boolean;
  readonly biasCorrection: boolean;
}

/** The flags that the blocks must agree with. */
interface RunNumbers {
  readonly lr: number;
  readonly weightDecay: number;
  /** Updates. */
  readonly warmup: number;
  /** Updates of the whole run. Undefined: not known yet. */
  readonly totalSteps?: number | undefined;
}

/** What DeepSpeed's optimizer has for a default, which is what transformers' trainer asks for, too. */
const defaults: AdamSettings = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  isDecoupled: true,
  biasCorrection: true,
};

const readBetas = (
  params: Record<string, unknown>,
  path: string,
  reading: Reading,
): readonly [number, number] => {
  const absent = [defaults.beta1, defaults.beta2] as const;
  if (params["betas"] === "auto") params["betas"] = [...absent];
  const found = params["betas"] ?? absent;
  const isRate = (value: unknown): value is number =>
    typeof value === "number" && value >= 0 && value < 1;
  const [beta1, beta2, ...others] = Array.isArray(found) ? (found as unknown[]) : [];
  if (isRate(beta1) && isRate(beta2) && others.length === 0) return [beta1, beta2];
  reading.faults.push(
    `${path}.betas: found ${quoteJson(found)}, expected two numbers from 0 to below 1, or "auto"`,
  );
  return absent;
};

/**
 * The block `optimizer`; undefined if there is none, or it cannot be followed.
 *
 * Type AdamW is decoupled whatever adam_w_mode says. Source: _configure_basic_optimizer of DeepSpeed's runtime/engine.py.
 */
export const readOptimizer = (
  file: JsonObject,
  { lr, weightDecay }: RunNumbers,
  reading: Reading,
): AdamSettings | undefined => {
  const known = ["type", "params", "legacy_fusion"];
  const block = reading.block(file, "optimizer", { known, path: "optimizer" });
  if (block === undefined) return undefined;
  reading.noteIdle("optimizer.legacy_fusion", block["legacy_fusion"]);
  const type = reading.word(block, "type", "optimizer.type", optimizerTypes);
  if (type === undefined) return undefined;
  if (type !== "Adam" && type !== "AdamW") {
    const reason = `${type} makes other updates, which there is nothing for here`;
    reading.refuse("optimizer.type", type, "Adam or AdamW", reason);
    return undefined;
  }
  const path = "optimizer.params";
  block["params"] ??= {};
  const params = reading.block(block, "params", { known: optimizerParams, path });
  if (params === undefined) return undefined;
  const match = (key: string, expected: number, flag: string, absent: number): void =>
    reading.match(params, key, { path: `${path}.${key}`, expected, flag, absent });
  match("lr", lr, "--lr", 1e-3);
  match("weight_decay", weightDecay, "--weight_decay", 0);
  const [beta1, beta2] = readBetas(params, path, reading);
  if (params["eps"] === "auto") params["eps"] = defaults.epsilon;
  const epsilon = reading.number(params, "eps", {
    ...{ path, least: 0, absent: defaults.epsilon, whole: false },
  });
  reading.boolean(params, "torch_adam", `${path}.torch_adam`);
  reading.noteIdle(`${path}.torch_adam`, params["torch_adam"]);
  const mode = reading.boolean(params, "adam_w_mode", `${path}.adam_w_mode`) ?? true;
  if (!mode && type === "AdamW")
    reading.lines.push(
      `${path}.adam_w_mode false does nothing beside type AdamW; with Adam it would`,
    );
  return {
    ...{ beta1, beta2, epsilon },
    isDecoupled: mode || type === "AdamW",
    biasCorrection: reading.boolean(params, "bias_correction", `${path}.bias_correction`) ?? true,
  };
};

/** What a scheduler block asks for. */
export interface ScheduleAsked {
  readonly scheduler: SchedulerSettings;
  /** The updates that it counts on; they must be those of the run. Undefined: it follows the run. */
  readonly totalSteps: number | undefined;
}

const readTotal = (
  params: Record<string, unknown>,
  path: string,
  totalSteps: number | undefined,
  reading: Reading,
): number | undefined => {
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

/** The block `scheduler`; undefined if there is none, or it cannot be followed. */
export const readScheduler = (
  file: JsonObject,
  { lr, warmup, totalSteps }: RunNumbers,
  reading: Reading,
): ScheduleAsked | undefined => {
  const block = reading.block(file, "scheduler", { known: ["type", "params"], path: "scheduler" });
  if (block === undefined) return undefined;
  const word = reading.word(block, "type", "scheduler.type", schedulerTypes);
  if (word === undefined) return undefined;
  const types = ["WarmupLR", "WarmupDecayLR", "WarmupCosineLR"] as const;
  const type = types.find((name) => name === word);
  if (type === undefined) {
    const reason =
      word === "OneCycle"
        ? "OneCycle moves the betas along with the rate, which is fixed here"
        : "LRRangeTest looks for a rate, and does not train with one; hira sweep compares rates";
    reading.refuse("scheduler.type", word, types.join(", "), reason);
    return undefined;
  }
  const path = "scheduler.params";
  block["params"] ??= {};
  const params = reading.block(block, "params", { known: schedulerParams[type], path });
  if (params === undefined) return undefined;
  if ((params["last_batch_iteration"] ?? -1) !== -1)
    reading.faults.push(
      `${path}.last_batch_iteration: found ${quoteJson(params["last_batch_iteration"])}, expected -1: a run that goes on takes it from its checkpoint`,
    );
  const kinds = ["log", "linear"] as const;
  const asked = params["warmup_type"] ?? "log";
  const warmupType = kinds.find((kind) => kind === asked);
  if (warmupType === undefined)
    reading.faults.push(
      `${path}.warmup_type: found ${quoteJson(asked)}, expected ${kinds.join(" or ")}`,
    );
  const isCosine = type === "WarmupCosineLR";
  if (!isCosine)
    reading.match(params, "warmup_max_lr", {
      path: `${path}.warmup_max_lr`,
      expected: lr,
      flag: "--lr",
      // WarmupLR takes the optimizer's rate.
      ...(type === "WarmupDecayLR" && { absent: 1e-3 }),
    });
  reading.match(params, "warmup_num_steps", {
    path: `${path}.warmup_num_steps`,
    expected: warmup,
    flag: "--warmup",
    absent: 1000,
  });
  if (params["warmup_min_lr"] === "auto") params["warmup_min_lr"] = 0;
  const number = (key: string, absent: number, most?: number): number =>
    reading.number(params, key, {
      ...{ path, least: 0, absent, whole: false, ...(most !== undefined && { most }) },
    });
  return {
    scheduler: {
      type,
      warmupType: warmupType ?? "log",
      start: isCosine ? number("warmup_min_ratio", 0, 1) : number("warmup_min_lr", 0),
      end: isCosine ? number("cos_min_ratio", 1e-4, 1) : 0,
    },
    totalSteps: type === "WarmupLR" ? undefined : readTotal(params, path, totalSteps, reading),
  };
};
