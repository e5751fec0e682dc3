import type { JsonObject } from "../core/json-file.js";
import { openJsonlAppender, readJsonlObjects } from "./jsonl.js";
import { UserError } from "../core/errors.js";

/** What one update step measured: a row of metrics.jsonl. */
export interface StepMetrics {
  /** From 1. */
  readonly step: number;
  /** Mean over the step's labelled tokens (or as --compat=loss-mean has it). */
  readonly loss: number;
  /** Over all trained parameters, before clipping. */
  readonly gradNorm: number;
  /** The rate this step was made with. */
  readonly lr: number;
  /** Real tokens of the step's micro-batches, without padding. */
  readonly tokens: number;
  /** Tokens computed, with padding. */
  readonly paddedTokens: number;
  readonly stepMs: number;
  /** The most physical memory that the process has held so far; files of earlier versions lack it. */
  readonly peakMemoryBytes?: number;
  /** Sparse LoRA: the share of its elements that are pruned after the step. */
  readonly sparsity?: number;
  /** In fp16: by what the loss was multiplied. */
  readonly lossScale?: number;
  /** In fp16: whether the update was not made, since its gradients were not finite. */
  readonly skipped?: boolean;
}

/** Writes metrics.jsonl; see JsonlAppender for what append and flush promise. */
export interface MetricsWriter {
  append(metrics: StepMetrics): Promise<void>;
  /** A row of an evaluation after `step`: figures by their names, and intervals as [low, high]. */
  evaluation(
    step: number,
    figures: Readonly<Record<string, number | readonly [low: number, high: number]>>,
  ): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens metrics.jsonl. Rows of steps after `afterStep` (of a run that got further before it was killed) are dropped.
 *
 * @throws {UserError} if the file cannot be written
 */
export const openMetrics = async (
  path: string,
  { afterStep = 0 }: { readonly afterStep?: number } = {},
): Promise<MetricsWriter> => {
  const file = await openJsonlAppender(
    path,
    ({ step }) => typeof step === "number" && step <= afterStep,
  );
  return {
    append: ({
      step,
      loss,
      gradNorm,
      lr,
      tokens,
      paddedTokens,
      stepMs,
      peakMemoryBytes,
      sparsity,
      lossScale,
      skipped,
    }) =>
      file.append({
        step,
        loss,
        grad_norm: gradNorm,
        lr,
        tokens,
        padded_tokens: paddedTokens,
        step_ms: stepMs,
        ...(peakMemoryBytes !== undefined && { peak_memory_bytes: peakMemoryBytes }),
        ...(sparsity !== undefined && { sparsity }),
        ...(lossScale !== undefined && { loss_scale: lossScale }),
        ...(skipped === true && { skipped }),
      }),
    evaluation: (step, figures) => file.append({ step, ...figures }),
    flush: () => file.flush(),
    close: () => file.close(),
  };
};

const numberField = (row: JsonObject, key: string, where: string): number => {
  const value = row[key];
  // A NaN is written as null.
  if (value === null) return NaN;
  if (typeof value === "number") return value;
  throw new UserError(
    `Cannot read ${where}: found ${value === undefined ? "no" : JSON.stringify(value)} "${key}", expected a number`,
  );
};

/**
 * Reads the updates of metrics.jsonl, not its evaluations; also while it is being written: a torn last line is left out.
 *
 * @throws {UserError} if a line is broken or lacks a number
 */
export const readMetrics = async (path: string): Promise<StepMetrics[]> => {
  const rows: StepMetrics[] = [];
  for await (const row of readJsonlObjects(path, () => undefined)) {
    if ("eval_loss" in row) continue;
    const number = (key: string): number =>
      numberField(row, key, `${path}, row ${String(rows.length + 1)}`);
    rows.push({
      step: number("step"),
      loss: number("loss"),
      gradNorm: number("grad_norm"),
      lr: number("lr"),
      tokens: number("tokens"),
      paddedTokens: number("padded_tokens"),
      stepMs: number("step_ms"),
      ...("peak_memory_bytes" in row && { peakMemoryBytes: number("peak_memory_bytes") }),
      ...("sparsity" in row && { sparsity: number("sparsity") }),
      ...("loss_scale" in row && {
        lossScale: number("loss_scale"),
        skipped: row.skipped === true,
      }),
    });
  }
  return rows;
};
