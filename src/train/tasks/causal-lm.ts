import { noLoss } from "../../datasets/encoded-rows.js";
import type { LabelledRows, Task, TokenBatch } from "./task.js";

/** Which rows of [batch * seq] predict a label, and the labels: position t predicts what stands at t + 1. */
const labelled = ({
  batch,
  seq,
  labels,
}: Pick<TokenBatch, "batch" | "seq" | "labels">): LabelledRows => {
  const rows: bigint[] = [];
  const ids: bigint[] = [];
  for (let row = 0; row < batch; row++) {
    for (let t = 0; t + 1 < seq; t++) {
      const label = labels[row * seq + t + 1] ?? noLoss;
      if (label === noLoss) continue;
      rows.push(BigInt(row * seq + t));
      ids.push(BigInt(label));
    }
  }
  return { rows: BigInt64Array.from(rows), ids: BigInt64Array.from(ids) };
};

/** Every token predicts the next one. */
export const causalLm = { name: "causal-lm", labelled } as const satisfies Task;
