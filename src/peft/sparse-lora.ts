import { loraFormulas, loraGroups, loraScale } from "./lora.js";
import { defineLinear } from "./method.js";
import { defineOptions } from "./option-group.js";
import { pruningMethods, pruningSchedules, type Pruning } from "./pruning.js";

const pruningOptions = defineOptions({
  phase: "training",
  flags: {
    sparsity: {
      ours: true,
      kind: "number",
      group: "Model and method",
      default: 0.5,
      min: 0,
      help: "sparse-lora: the share of every matrix's elements that ends up zero, below 1",
    },
    sparse_method: {
      ours: true,
      kind: "text",
      group: "Model and method",
      placeholder: "how",
      default: "magnitude",
      choices: pruningMethods,
      help: "sparse-lora: drop the smallest elements of a matrix, of each row (topk), or under a penalty (l1)",
    },
    sparse_schedule: {
      ours: true,
      kind: "text",
      group: "Model and method",
      placeholder: "when",
      default: "gradual",
      choices: pruningSchedules,
      help: "sparse-lora: drop all at the start step, or ever more up to the end step (cubic)",
    },
    sparse_start: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: null,
      min: 1,
      help: "sparse-lora: the update after which dropping begins; if not given, a fifth of the run",
    },
    sparse_end: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: null,
      min: 1,
      help: "sparse-lora: the update after which --sparsity is reached; if not given, four fifths of the run",
    },
    l1_weight: {
      ours: true,
      kind: "number",
      group: "Model and method",
      default: 1e-4,
      min: 0,
      help: "sparse-lora with --sparse_method l1: weight of the sum of magnitudes; the printed loss is without it",
    },
  },
  onlyWith: {
    sparse_end: { flag: "sparse_schedule", is: "gradual" },
    l1_weight: { flag: "sparse_method", is: "l1" },
  },
  read(values, { faults }): { readonly sparsity: Pruning | undefined } {
    const { sparsity, sparse_start: start, sparse_end: end } = values;
    if (sparsity >= 1)
      faults.push({ what: "--sparsity", found: String(sparsity), expected: "a share below 1" });
    if (start !== null && end !== null && start > end)
      faults.push({
        what: "--sparse_start",
        found: `${String(start)}, after --sparse_end ${String(end)}`,
        expected: "an earlier update",
      });
    return {
      sparsity: {
        sparsity,
        method: values.sparse_method as Pruning["method"],
        schedule: values.sparse_schedule as Pruning["schedule"],
        startStep: start ?? undefined,
        endStep: end ?? undefined,
        l1Weight: values.l1_weight,
      },
    };
  },
  valuesOf: ({ sparsity: pruning = defaultPruning }) => ({
    sparsity: pruning.sparsity,
    sparse_method: pruning.method,
    sparse_schedule: pruning.schedule,
    sparse_start: pruning.startStep ?? null,
    sparse_end: pruning.endStep ?? null,
    l1_weight: pruning.l1Weight,
  }),
});

/** The flags' defaults. */
export const defaultPruning = pruningOptions.defaults.sparsity as Pruning;

/**
 * Sparse LoRA: LoRA whose A and B are pruned while they train, and stay zero where they were.
 *
 * Its layers compute what LoRA's do. It is not SparseLoRA of Khaki et al. (ICML 2025), which skips parts of the frozen
 * weights by context and leaves A and B dense.
 */
export const sparseLora = defineLinear({
  kind: "linear",
  name: "sparse-lora",
  groups: [...loraGroups, pruningOptions],
  ...loraFormulas(loraScale),
  embedding: undefined,
  pruning: ({ sparsity }) => sparsity,
});
