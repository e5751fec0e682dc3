import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Precision } from "../../../src/core/precision.js";
import { loadModelFolder } from "../../../src/models/model-folder.js";
import { float32Tensors, openFrozenWeights } from "../../../src/models/weights/frozen-weights.js";
import { buildAdapter, type AdapterSettings } from "../../../src/peft/build-adapter.js";
import {
  optionGroups,
  peftTypes,
  type MethodOptions,
  type PeftType,
} from "../../../src/peft/registry.js";
import { defaultPruning } from "../../../src/peft/sparse-lora.js";
import { firstWrongGradient, openChecked } from "../../../src/train/device-check.js";
import { largestError, relativeDifference } from "../../../src/train/gradient-errors.js";
import { packingPlan } from "../../../src/train/load-base.js";
import { createParameterStore } from "../../../src/train/parameters.js";
import { writeShapedModel } from "../models.js";
import { profiledDevice } from "../placement.js";
import { oneLine, precisionsOf, short, type Stage, type StageContext } from "../stage.js";
import { targetModules } from "../training.js";

const defaults = Object.assign({}, ...optionGroups.map((group) => group.defaults)) as MethodOptions;

const settings: AdapterSettings = {
  ...defaults,
  ...{ rank: 8, alpha: 16, additiveRank: 4, targetModules, layers: undefined },
  ...{ modulesToSave: [], rankPattern: new Map(), qloraAdapter: "lora" },
  sparsity: { ...defaultPruning, sparsity: 0.25 },
  ...{ virtualTokens: 4, encoderHiddenSize: 16 },
};

const checkMethod = async (
  { add, plan, work }: StageContext,
  { folder, name }: { readonly folder: string; readonly name: string },
  peftType: PeftType,
  precision: Precision,
): Promise<void> => {
  const what = { model: name, method: peftType, precision };
  try {
    const { model, weights: entries, ...others } = await loadModelFolder(folder);
    const packs = peftType === "qlora";
    const storage = { loadBit: packs ? 4 : 16, quantType: "nf4", doubleQuant: true } as const;
    const pack = packingPlan({ model, weights: entries, ...others }, storage);
    const weights = await openFrozenWeights(entries, { storage: "stored", ...(pack && { pack }) });
    const adapter = buildAdapter(peftType, model, settings, new Set());
    const { device, ...rest } = await plan(precision);
    const watched = profiledDevice(device, mkdtempSync(join(work, "profiles-")));
    const asked = { ...rest, device: watched.device };
    const store = createParameterStore(adapter, 1, () => undefined, {
      device: asked.device,
      base: float32Tensors(weights),
    });
    const { session, found } = await openChecked({
      options: {
        ...{ model, adapter, maxPositions: 64, chunks: 1 },
        ...{ gradients: true, recomputeLayers: false },
      },
      ...{ weights, store, plan: asked },
    });
    session.dispose();
    // The session of the CPU does not count: it is made by a device of its own.
    const placement = watched.takePlacements().at(-1);
    const leaves =
      device.name === "cpu"
        ? []
        : [
            ...(placement?.onCpu ?? []),
            ...(placement && placement.copies > 0 ? [`${String(placement.copies)} copies`] : []),
          ];
    const wrong = firstWrongGradient(found);
    const largest = largestError(found.gradients);
    const lossError = relativeDifference(found.loss.device, found.loss.cpu);
    add({
      ...what,
      ok: !wrong && lossError <= found.bounds.loss && leaves.length === 0,
      loss: Number(found.loss.device.toPrecision(7)),
      cpu: Number(found.loss.cpu.toPrecision(7)),
      gradients: found.gradients.length,
      "largest error": short(largest?.error ?? 0),
      allowed: found.bounds.gradient,
      of: wrong?.name ?? largest?.name ?? "",
      nodes: placement?.nodes ?? 0,
      "off the device": leaves.join(", ") || "nothing",
    });
  } catch (error) {
    add({ ...what, ok: false, of: oneLine(error) });
  }
};

/** The check before step 1, for every method. */
export const check: Stage = {
  title: "Gradients of every method",
  about:
    "Loss and every gradient of a small batch against the CPU in float32; where one is beyond its bound, the first in graph order is named.",
  limit: 60,
  async run(context) {
    const { open, work, dryRun } = context;
    const device = await open();
    const shaped = join(work, "shaped");
    await writeShapedModel(shaped, dryRun ? "small" : "smollm2-135m");
    const models = [
      { folder: "data_file/demo", name: "demo" },
      { folder: shaped, name: dryRun ? "small, random" : "SmolLM2-135M's shape, random" },
    ];
    for (const model of models) {
      for (const precision of precisionsOf(device, ["fp32", "bf16", "mixed", "fp16"]))
        for (const method of ["hira", "lora"] as const)
          await checkMethod(context, model, method, precision);
      for (const method of peftTypes)
        if (method !== "hira" && method !== "lora")
          await checkMethod(context, model, method, "fp32");
    }
    device.dispose();
  },
};
