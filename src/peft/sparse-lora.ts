import { lora } from "./lora.js";
import type { LinearMethod } from "./method.js";

/**
 * Sparse LoRA: LoRA whose A and B are pruned while they train, and stay zero where they were.
 *
 * Its layers compute what LoRA's do. It is not SparseLoRA of Khaki et al. (ICML 2025), which skips parts of the frozen
 * weights by context and leaves A and B dense.
 */
export const sparseLora: LinearMethod = {
  ...lora,
  name: "sparse-lora",
  reads: { ...lora.reads, sparsity: true },
  embedding: undefined,
};
