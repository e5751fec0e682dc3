import { quoteJson, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { Reading } from "./ds-config-reading.js";

/** What a better trial has more of. */
export const autotuningMetrics = ["throughput", "latency"] as const;

/** The order of trials. */
export const tunerTypes = ["gridsearch", "random", "model_based"] as const;

/** The block `autotuning` of a --ds_config, by DeepSpeed's names and with its defaults. */
export interface AutotuningSettings {
  readonly enabled: boolean;
  readonly resultsDir: string;
  readonly expsDir: string;
  /** Whether trials are run again whose results are there. */
  readonly overwrite: boolean;
  readonly metric: (typeof autotuningMetrics)[number];
  /** The first update that is measured, from 1. */
  readonly startProfileStep: number;
  /** The last one. */
  readonly endProfileStep: number;
  readonly maxTrainBatchSize: number | undefined;
  readonly minMicroBatch: number;
  readonly maxMicroBatch: number;
  /** Micro-batch sizes that are tried a stage, at most. */
  readonly microBatchSizes: number;
  readonly tunerType: (typeof tunerTypes)[number];
  /** Trials that may follow the best one without being better. */
  readonly earlyStopping: number;
  readonly trials: number;
  /** Flags of the program by the keys of the file; undefined: the file names none. */
  readonly argMappings: Readonly<Record<string, string>> | undefined;
}

const known = [
  ...["enabled", "fast", "results_dir", "exps_dir", "overwrite", "metric", "metric_path"],
  ...["start_profile_step", "end_profile_step", "start_step", "end_step"],
  ...["max_train_batch_size", "min_train_batch_size", "mp_size", "model_info", "model_info_path"],
  ...["max_train_micro_batch_size_per_gpu", "min_train_micro_batch_size_per_gpu"],
  ...["num_tuning_micro_batch_sizes", "tuner_type", "tuner_early_stopping", "tuner_num_trials"],
  ...["arg_mappings"],
];

const path = "autotuning";

/**
 * The block `autotuning`.
 *
 * Source: autotuning/config.py, constants.py and README.md of DeepSpeed.
 */
export const readAutotuning = (file: JsonObject, reading: Reading): AutotuningSettings => {
  const block: JsonObject = reading.block(file, path, { known, path }) ?? {};
  const enabled = reading.boolean(block, "enabled", `${path}.enabled`) ?? false;
  const flag = (key: string, absent: boolean): boolean =>
    reading.boolean(block, key, `${path}.${key}`) ?? absent;
  const count = (key: string, absent: number): number =>
    block[key] === null ? absent : reading.number(block, key, { path, least: 1, absent });
  const folder = (key: string, absent: string): string => {
    const value = block[key] ?? absent;
    if (typeof value === "string" && value !== "") return value;
    reading.faults.push(`${path}.${key}: found ${quoteJson(value)}, expected a folder`);
    return absent;
  };
  const word = <const Words extends readonly string[]>(
    key: string,
    words: Words,
    absent: Words[number],
  ): Words[number] => {
    const value = block[key] ?? absent;
    const found = words.find((each) => each === value);
    if (found !== undefined) return found;
    reading.faults.push(
      `${path}.${key}: found ${quoteJson(value)}, expected ${words.join(" or ")}`,
    );
    return absent;
  };
  const say = (key: string, line: string): void => {
    if (enabled && block[key] !== undefined && block[key] !== null)
      reading.lines.push(`${path}.${key} ${line}`);
  };
  if (!flag("fast", true))
    say(
      "fast",
      "false asks for trials of buckets and overlap too: micro-batches and stages alone are tried",
    );
  for (const key of [
    "metric_path",
    "min_train_batch_size",
    "model_info",
    "model_info_path",
    "mp_size",
  ])
    if (key !== "mp_size" || (block[key] ?? 1) !== 1) say(key, "has nothing to do here");
  const tunerType = word("tuner_type", tunerTypes, "gridsearch");
  if (tunerType !== "gridsearch")
    say("tuner_type", `${tunerType} orders many trials; the few of a stage are tried by size`);
  const start = count("start_profile_step", count("start_step", 3));
  const end = count("end_profile_step", count("end_step", 5));
  if (end < start)
    reading.faults.push(
      `${path}.end_profile_step: found ${String(end)}, expected at least start_profile_step, ${String(start)}`,
    );
  const least = count("min_train_micro_batch_size_per_gpu", 1);
  const most = count("max_train_micro_batch_size_per_gpu", 1024);
  if (most < least)
    reading.faults.push(
      `${path}.max_train_micro_batch_size_per_gpu: found ${String(most)}, expected at least min_train_micro_batch_size_per_gpu, ${String(least)}`,
    );
  const mappings = block["arg_mappings"] ?? undefined;
  if (mappings !== undefined && !isJsonObject(mappings))
    reading.faults.push(`${path}.arg_mappings: found ${quoteJson(mappings)}, expected an object`);
  return {
    enabled,
    resultsDir: folder("results_dir", "autotuning_results"),
    expsDir: folder("exps_dir", "autotuning_exps"),
    overwrite: flag("overwrite", true),
    metric: word("metric", autotuningMetrics, "throughput"),
    startProfileStep: start,
    endProfileStep: end,
    maxTrainBatchSize:
      (block["max_train_batch_size"] ?? null) === null
        ? undefined
        : count("max_train_batch_size", 1),
    minMicroBatch: least,
    maxMicroBatch: most,
    microBatchSizes: count("num_tuning_micro_batch_sizes", 3),
    tunerType,
    earlyStopping: count("tuner_early_stopping", 5),
    trials: count("tuner_num_trials", 50),
    // The files have a blank behind a key, which DeepSpeed takes off, too.
    argMappings:
      mappings === undefined || !isJsonObject(mappings)
        ? undefined
        : Object.fromEntries(
            Object.entries(mappings).map(([key, value]) => [key.trim(), String(value)]),
          ),
  };
};
