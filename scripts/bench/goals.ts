/** What the cases of `npm run bench -- all` are held against. */

/** By what its bf16 products run on: "amx", "avx512_bf16", or neither. */
export type ProcessorKind = "amx" | "avx512_bf16" | "other";

/** From the flags of /proc/cpuinfo. */
export const processorKindOf = (flags: readonly string[]): ProcessorKind => {
  if (flags.includes("amx_bf16")) return "amx";
  return flags.includes("avx512_bf16") ? "avx512_bf16" : "other";
};

/** A case's goal: a ratio to reach, or one not to exceed. */
export interface Goal {
  readonly amx: number;
  readonly avx512Bf16: number;
  readonly better: "higher" | "lower";
}

const atLeast = (amx: number, avx512Bf16 = amx): Goal => ({ amx, avx512Bf16, better: "higher" });
const atMost = (ratio: number): Goal => ({ amx: ratio, avx512Bf16: ratio, better: "lower" });

/** Names of the cases, as the JSON has them, with their goals. */
export const goals = {
  "real batches against the original": atLeast(10, 6),
  "real batches against peft HiRA, dynamic padding": atLeast(5, 3),
  "8 x 128 all labelled against PyTorch eager": atLeast(3, 1.8),
  "8 x 128 all labelled against torch.compile": atLeast(2, 1.3),
  "8 x 128 all labelled, fp32 on the default device, against PyTorch eager fp32": atLeast(1.3, 1.4),
  "2 x 2,048 against PyTorch": atLeast(2.5, 1.8),
  "beam 4 x 16 against HF generate": atLeast(6, 4),
  "greedy, batch 1, against HF generate": atLeast(4),
  "peak memory of real batches over the original's": atMost(0.4),
  "peak memory of 8 x 128 over PyTorch eager's": atMost(0.5),
  "HiRA's step over LoRA's, batch 4": atMost(1.15),
  "HiRA's step over LoRA's, 8 x 128": atMost(1.05),
  "HiRA's peak over LoRA's, 8 x 128": atMost(1),
  "command to first step against torch and peft": atLeast(4),
} as const satisfies Readonly<Record<string, Goal>>;
export type CaseName = keyof typeof goals;

/** The goal on a kind of processor; null where none was set for it. */
export const goalOn = (name: CaseName, kind: ProcessorKind): number | null => {
  if (kind === "other") return null;
  return kind === "amx" ? goals[name].amx : goals[name].avx512Bf16;
};

/** Whether a ratio reaches its goal; null without one. */
export const isReached = (name: CaseName, ratio: number, kind: ProcessorKind): boolean | null => {
  const goal = goalOn(name, kind);
  if (goal === null) return null;
  return goals[name].better === "higher" ? ratio >= goal : ratio <= goal;
};
