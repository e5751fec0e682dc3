/** Times the generation of some prompts by our engine, whenever it is asked. usage: decode-worker.ts OPTIONS_JSON, see DecodeOptions */
import { ModelEngine } from "../../src/decode/engine.js";
import { generate } from "../../src/decode/generate.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { openPlan, type ComputeChoice } from "../../src/runtime/compute-plan.js";
import { runtimeVersion } from "../../src/runtime/ort/version.js";
import { serveSamples } from "./serve.js";

/** What is decoded: no sequence ends before its last token, so that every contender makes as many. */
export interface DecodeOptions {
  readonly model: string;
  readonly prompts: readonly (readonly number[])[];
  readonly settings: {
    readonly numBeams: number;
    readonly maxNewTokens: number;
    readonly padId: number;
  };
  readonly threads: number;
  readonly choice?: ComputeChoice;
}

const options = JSON.parse(process.argv[2] ?? "{}") as DecodeOptions;
const plan = await openPlan({ ...options.choice, threads: options.threads });
const folder = await loadModelFolder(options.model);
const settings = { ...defaultDecodeSettings, ...options.settings, eosIds: [] };
const longest = Math.max(...options.prompts.map(({ length }) => length));
const engine = await ModelEngine.create({
  model: folder.model,
  weights: await openFrozenWeights(folder.weights, {
    storage: plan.precision === "fp32" ? "float32" : "stored",
  }),
  maxPositions: longest + settings.maxNewTokens,
  plan,
});
const prompts = options.prompts.map((ids) => ({ ids }));
const decode = () => generate({ engine, prompts, settings, batch: prompts.length });
await decode();
await serveSamples({ firstLoss: null, version: `onnxruntime ${runtimeVersion()}` }, async () => {
  const begun = performance.now();
  await decode();
  return [performance.now() - begun];
});
engine.dispose();
plan.device.dispose();
