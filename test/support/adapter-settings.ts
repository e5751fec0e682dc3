import type { AdapterSettings } from "../../src/peft/build-adapter.js";
import { optionGroups, type MethodOptions } from "../../src/peft/registry.js";
import { defaultPruning } from "../../src/peft/sparse-lora.js";

/** The options of all methods where no flag is given. */
export const defaultMethodOptions = Object.assign(
  {},
  ...optionGroups.map(({ defaults }) => defaults),
) as MethodOptions;

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
