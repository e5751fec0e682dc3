/** The batches of a run as lines of JSON that PyTorch can read; scripts/reference/hira_torch.py reads them. */
import { readFile } from "node:fs/promises";
import { writeJsonl } from "../../src/report/jsonl.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";

/** One micro-batch: rectangles as the model is fed them, labels not shifted, -100 = no loss. */
export interface StoredBatch {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  /** Numbers of the rows in their file. */
  readonly rows?: readonly number[];
}

/** A line of train.jsonl: an update's micro-batches. */
export interface StoredStep {
  /** From 1. */
  readonly step: number;
  readonly batches: readonly StoredBatch[];
}

const rectangle = (
  flat: BigInt64Array | Uint8Array | Int32Array,
  { batch, seq }: Pick<TokenBatch, "batch" | "seq">,
): number[][] =>
  Array.from({ length: batch }, (_, row) =>
    Array.from(flat.subarray(row * seq, (row + 1) * seq), Number),
  );

export const storeBatch = (batch: TokenBatch & { readonly rows?: readonly number[] }) => ({
  ...(batch.rows && { rows: batch.rows }),
  input_ids: rectangle(batch.inputIds, batch),
  attention_mask: rectangle(batch.attentionMask, batch),
  labels: rectangle(batch.labels, batch),
});

export const restoreBatch = ({ input_ids, attention_mask, labels }: StoredBatch): TokenBatch => ({
  batch: input_ids.length,
  seq: input_ids[0]?.length ?? 0,
  inputIds: BigInt64Array.from(input_ids.flat(), BigInt),
  attentionMask: Uint8Array.from(attention_mask.flat()),
  labels: Int32Array.from(labels.flat()),
});

export const writeSteps = (path: string, steps: Iterable<StoredStep>): Promise<void> =>
  writeJsonl(path, steps);

/** The first `limit` lines of a train.jsonl. */
export const readSteps = async (path: string, limit = Infinity): Promise<StoredStep[]> => {
  const lines = (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");
  return lines.slice(0, limit).map((line) => JSON.parse(line) as StoredStep);
};
