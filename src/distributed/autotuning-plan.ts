import { quoteJson, type JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { AutotuningSettings } from "./autotuning-settings.js";

/** Rows of a micro-batch, and how many of them a process has in an update. */
export interface MicroBatch {
  readonly batch: number;
  readonly gradAcc: number;
}

/** What is tried: every micro-batch in every stage. */
export interface TuningSpace {
  readonly stages: readonly (0 | 1 | 2 | 3)[];
  /** By size. They make the same global batch, as far as it divides. */
  readonly microBatches: readonly MicroBatch[];
}

/** What the user's line and file say. */
export interface TuningLine {
  readonly file: JsonObject;
  readonly settings: AutotuningSettings;
  /** --batch and --grad_acc of the line. */
  readonly batch: number;
  readonly gradAcc: number;
  readonly processes: number;
}

/** One setting that is tried. */
export interface Trial extends MicroBatch {
  readonly stage: 0 | 1 | 2 | 3;
}

/** What a trial has come to. */
export interface TrialResult {
  readonly trial: Trial;
  /** Undefined where it has none. */
  readonly measured:
    | {
        /** Rows of all processes a second. */
        readonly throughput: number;
        /** Milliseconds an update. */
        readonly latency: number;
        /** The most physical memory that each process has held, by rank. */
        readonly peakBytes: readonly number[];
      }
    | undefined;
  /** Why there are no figures, or where they are from. */
  readonly remark: string;
}

/** DeepSpeed's name of a trial. */
export const trialName = ({ stage, batch, gradAcc }: Trial): string =>
  `z${String(stage)}_tmbspg${String(batch)}_gas${String(gradAcc)}`;

const stagesOf = ({ file, processes }: TuningLine, faults: string[]): TuningSpace["stages"] => {
  const all = [0, 1, 2, 3] as const;
  const block = file["zero_optimization"];
  const asked = isJsonObject(block) ? block["stage"] : block;
  // One process has nothing to share out.
  if (asked === undefined || asked === "all") return processes > 1 ? all : [0];
  const list = Array.isArray(asked) ? (asked as unknown[]) : [asked];
  const stages = all.filter((stage) => list.includes(stage));
  if (stages.length === 0 || stages.length < new Set(list).size)
    faults.push(
      `zero_optimization.stage: found ${quoteJson(asked)}, expected 0 to 3, a list of them, or "all"`,
    );
  return stages;
};

/** Of sizes in order, `count` from the one that `start` is, or comes before; smaller ones where there are not so many. */
const around = (sizes: readonly number[], start: number, count: number): readonly number[] => {
  const found = sizes.findIndex((size) => size >= start);
  const first = found < 0 ? sizes.length : found;
  return sizes.slice(Math.max(0, Math.min(first, sizes.length - count))).slice(0, count);
};

const fixedBatches = (
  { settings, batch, processes }: TuningLine,
  whole: number,
  faults: string[],
): readonly MicroBatch[] => {
  const { minMicroBatch, maxMicroBatch, microBatchSizes } = settings;
  const each = whole / processes;
  if (!Number.isSafeInteger(each) || each < 1) {
    faults.push(
      `train_batch_size: found ${String(whole)}, expected a multiple of the ${String(processes)} processes`,
    );
    return [];
  }
  const most = Math.min(each, maxMicroBatch);
  const sizes = Array.from({ length: most }, (_, i) => i + 1).filter(
    (size) => size >= minMicroBatch && each % size === 0,
  );
  if (sizes.length === 0)
    faults.push(
      `train_batch_size: found ${String(whole)}, which no micro-batch of ${String(minMicroBatch)} to ${String(maxMicroBatch)} rows divides`,
    );
  return around(sizes, batch, microBatchSizes).map((size) => ({
    batch: size,
    gradAcc: each / size,
  }));
};

const growingBatches = (line: TuningLine, faults: string[]): readonly MicroBatch[] => {
  const { file, settings, gradAcc, processes } = line;
  const { minMicroBatch, maxMicroBatch, microBatchSizes, maxTrainBatchSize, argMappings } =
    settings;
  const most = Math.min(
    maxMicroBatch,
    maxTrainBatchSize === undefined ? Infinity : Math.floor(maxTrainBatchSize / processes),
  );
  const micro = file["train_micro_batch_size_per_gpu"] ?? "auto";
  const isSize = (value: unknown): value is number =>
    Number.isSafeInteger(value) && (value as number) > 0;
  const list = Array.isArray(micro) ? (micro as unknown[]) : [micro];
  if (!list.every((value) => value === "auto" || isSize(value)) || list.length === 0)
    faults.push(
      `train_micro_batch_size_per_gpu: found ${quoteJson(micro)}, expected a number, a list of numbers, or "auto"`,
    );
  const given = list.filter(isSize).sort((a, b) => a - b);
  // "auto" is the line's, if the file says which flag has it.
  const mapped = argMappings?.["train_micro_batch_size_per_gpu"] === undefined ? 1 : line.batch;
  const start = Math.max(minMicroBatch, given[0] ?? mapped);
  const doubled = Array.from({ length: microBatchSizes }, (_, i) => start * 2 ** i);
  const sizes = (Array.isArray(micro) ? given : doubled).filter(
    (size) => size >= minMicroBatch && size <= most,
  );
  const largest = sizes.at(-1);
  if (largest === undefined) {
    faults.push(
      `autotuning: found no micro-batch to try from ${String(start)} to ${String(most)} rows, expected one`,
    );
    return [];
  }
  const each =
    maxTrainBatchSize === undefined ? largest * gradAcc : Math.floor(maxTrainBatchSize / processes);
  return [...new Set(sizes)].map((batch) => ({
    batch,
    gradAcc:
      Array.isArray(micro) && maxTrainBatchSize === undefined ? gradAcc : Math.floor(each / batch),
  }));
};

/**
 * What is tried, in order; what is wrong goes into `faults`.
 *
 * With `train_batch_size` in the file the global batch is that: micro-batches that divide it, from the line's --batch on. Else,
 * as in DeepSpeed, sizes from the line's on, each twice the one before, and the global batch is the largest of them times --grad_acc
 * (or max_train_batch_size); or the sizes that the file lists, each with --grad_acc. Stages are tried where there are several
 * processes, unless the file names one.
 * Source: autotuning/README.md of DeepSpeed.
 */
export const planTuning = (line: TuningLine, faults: string[]): TuningSpace => {
  const whole = line.file["train_batch_size"];
  const isFixed = typeof whole === "number";
  if (whole !== undefined && !isFixed && whole !== "auto")
    faults.push(`train_batch_size: found ${quoteJson(whole)}, expected a number or "auto"`);
  return {
    stages: stagesOf(line, faults),
    microBatches: isFixed ? fixedBatches(line, whole, faults) : growingBatches(line, faults),
  };
};

/** Whether the first is better; a result without figures never is. */
export const isBetter = (
  { measured: found }: TrialResult,
  than: TrialResult | undefined,
  metric: AutotuningSettings["metric"],
): boolean => {
  if (!found) return false;
  const other = than?.measured;
  if (!other) return true;
  return metric === "latency" ? found.latency < other.latency : found.throughput > other.throughput;
};

/** The best of the results; undefined where none has figures. */
export const bestOf = (
  results: readonly TrialResult[],
  metric: AutotuningSettings["metric"],
): TrialResult | undefined =>
  results.reduce<TrialResult | undefined>(
    (best, result) => (isBetter(result, best, metric) ? result : best),
    undefined,
  );

/**
 * The memory that a process would take with micro-batches of `batch` rows, from two that were measured: a straight line through the
 * peaks of the two largest. Undefined where there are not two.
 */
export const expectedPeak = (
  results: readonly TrialResult[],
  { stage, batch }: Trial,
): number | undefined => {
  const points = results
    .flatMap(({ trial, measured }) =>
      measured && trial.stage === stage ? [[trial.batch, Math.max(...measured.peakBytes)]] : [],
    )
    .sort(([a = 0], [b = 0]) => a - b);
  const [[x0 = 0, y0 = 0] = [], [x1 = 0, y1 = 0] = []] = points.slice(-2);
  if (points.length < 2 || x1 === x0) return undefined;
  return y1 + (Math.max(0, y1 - y0) / (x1 - x0)) * (batch - x1);
};
