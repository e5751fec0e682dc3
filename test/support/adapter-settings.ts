import type { AdapterSettings } from "../../src/peft/build-adapter.js";
import { defaultSparsity } from "../../src/peft/method.js";

/** Settings that fit the tiny base model of the peft fixtures. */
export const defaultAdapterSettings: AdapterSettings = {
  rank: 2,
  loraAlpha: 3,
  useRslora: false,
  rLora: 1,
  moraType: 6,
  targetModules: "q_proj,k_proj,up_proj,down_proj",
  layers: undefined,
  modulesToSave: [],
  rankPattern: new Map(),
  initAb: { A: "kaiming", B: "zero" },
  trainAb: { A: true, B: true },
  randR: false,
  qloraAdapter: "lora",
  sparsity: { ...defaultSparsity, sparsity: 0.25 },
  virtualTokens: 3,
  prefixProjection: false,
  encoderHiddenSize: 5,
  encoderType: "MLP",
  encoderLayers: 2,
  promptInitText: undefined,
};
