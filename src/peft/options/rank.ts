import { defineOptions } from "../option-group.js";

/** --r_ab: the rank of A and B, or what stands for it; --rank_pattern sets it by module. */
export const rankOptions = defineOptions({
  phase: "trained",
  isRank: true,
  flags: {
    r_ab: {
      kind: "integer",
      group: "Model and method",
      default: 16,
      min: 1,
      help: "Rank of A and B",
    },
  },
  read: ({ r_ab: rank }) => ({ rank }),
  valuesOf: ({ rank }) => ({ r_ab: rank }),
});

/** The rank of one module. */
export type RankOptions = (typeof rankOptions)["defaults"];
