import type { AdapterSettings } from "../../src/peft/build-adapter.js";
import { defaultMethodOptions } from "../../src/peft/registry.js";
import { defaultPruning } from "../../src/peft/sparse-lora.js";

/** Settings that fit the tiny base model of the peft fixtures. */
export const defaultAdapterSettings: AdapterSettings = {
  ...defaultMethodOptions,
  rank: 2,
  alpha: 3,
  additiveRank: 1,
  targetModules: "q_proj,k_proj,up_proj,down_proj",
  layers: undefined,
  modulesToSave: [],
  rankPattern: new Map(),
  qloraAdapter: "lora",
  sparsity: { ...defaultPruning, sparsity: 0.25 },
  virtualTokens: 3,
  encoderHiddenSize: 5,
};
