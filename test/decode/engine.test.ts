import { fileURLToPath } from "node:url";
import test from "ava";
import { LlamaEngine } from "../../src/decode/engine.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { checkGoldenCase, readBeamGoldens } from "../support/beam-goldens.js";
import { sharedPath, testWithShared } from "../support/shared.js";

const openEngine = async (folder: string): Promise<LlamaEngine> => {
  const model = await loadModelFolder(folder);
  const weights = await openFrozenWeights(model.weights, { storage: "float32" });
  return LlamaEngine.create({ config: model.config, weights, maxPositions: 128, threads: 1 });
};

testWithShared(
  "LlamaEngine gives transformers' tokens and scores in the 52 stored cases",
  "goldens/beams.json",
  async (t, path) => {
    const engine = await openEngine(sharedPath("goldens/tiny-llama")!);
    for (const golden of readBeamGoldens(path)) await checkGoldenCase(t, engine, golden);
    engine.dispose();
  },
);
