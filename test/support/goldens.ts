import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { loadModelFolder, type ModelFolder } from "../../src/models/model-folder.js";
import {
  float32Tensors,
  openFrozenWeights,
  type FrozenWeights,
} from "../../src/models/weights/frozen-weights.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
} from "../../src/models/weights/safetensors.js";
import type { Model } from "../../src/models/model.js";
import type { Adapter } from "../../src/peft/adapter.js";
import { selectTargets } from "../../src/peft/targets.js";
import { AdamW, clipFactor } from "../../src/train/adamw.js";
import { LossSession } from "../../src/train/loss-session.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";

/** The float32 tensors of a safetensors file. */
export const readTensors = async (path: string): Promise<ReadonlyMap<string, Float32Array>> => {
  const { entries } = await readSafetensorsHeader(path);
  const read = [...entries.values()].filter(({ dtype }) => dtype === "float32");
  return new Map(
    await Promise.all(
      read.map(async (entry) => [entry.name, await readTensorAsFloat32(entry)] as const),
    ),
  );
};

/** batch.safetensors of the goldens. */
export const readBatch = async (
  path: string,
): Promise<TokenBatch & { readonly baseLogits: Float32Array }> => {
  const { entries } = await readSafetensorsHeader(path);
  const data = async (name: string) => {
    const entry = entries.get(name);
    if (!entry) throw new Error(`no ${name} in ${path}`);
    return readTensorData(entry);
  };
  const labels = (await data("labels")) as BigInt64Array;
  return {
    batch: 4,
    seq: 24,
    inputIds: (await data("input_ids")) as BigInt64Array,
    attentionMask: Uint8Array.from((await data("attention_mask")) as BigInt64Array, Number),
    labels: Int32Array.from(labels, Number),
    baseLogits: (await data("base_logits")) as Float32Array,
  };
};

/** |a - b| / |b|, over all elements. */
export const distance = (a: Float32Array, b: Float32Array): number => {
  let [difference, size] = [0, 0];
  for (const [i, x] of b.entries()) {
    difference += ((a[i] ?? NaN) - x) ** 2;
    size += x ** 2;
  }
  return size === 0 ? Math.sqrt(difference) : Math.sqrt(difference / size);
};

/** The modules that the goldens adapt. */
export const goldenTargets = (model: Model) =>
  selectTargets(model.linears, "q_proj,k_proj,v_proj,up_proj,down_proj");

/**
 * Holds the logits of the plain model's real tokens against base_logits of batch.safetensors, beside the model's folder.
 *
 * @returns the model
 */
export const checkLogits = async (
  t: ExecutionContext,
  folder: string,
  { model: name, tolerance }: { readonly model: string; readonly tolerance: number },
): Promise<ModelFolder> => {
  const opened = await loadModelFolder(join(folder, name));
  const { model } = opened;
  const batch = await readBatch(join(folder, "batch.safetensors"));
  const error = distance(await realLogits(opened, batch), realOf(batch, model, batch.baseLogits));
  t.true(error < tolerance, String(error));
  return opened;
};

/** Of what a batch has a row of the vocabulary for each token: the rows of tokens that are no padding. */
const realOf = (batch: TokenBatch, { vocabSize }: Model, all: Float32Array): Float32Array =>
  all.filter((_, i) => batch.attentionMask[Math.floor(i / vocabSize)] === 1);

/** The plain model's logits of a batch's real tokens, [tokens, vocabulary]. */
export const realLogits = async (
  { model, weights }: Pick<ModelFolder, "model" | "weights">,
  batch: TokenBatch,
): Promise<Float32Array> => {
  const session = await LossSession.create(
    {
      ...{ model, adapter: undefined, maxPositions: 24, chunks: 1 },
      ...{ gradients: false, recomputeLayers: false, allLogits: true },
    },
    await openFrozenWeights(weights, { storage: "stored" }),
    undefined,
    cpuPlan(1),
  );
  const { logits } = await session.run(batch, 1 / 13);
  session.dispose();
  return realOf(batch, model, logits ?? new Float32Array());
};

interface Golden {
  readonly loss: readonly number[];
  readonly grad_norm: readonly number[];
  readonly lr: readonly number[];
  readonly loss_after: number;
}

/** The goldens' model and batch, and the numbers stored in the folder `numbers`. */
const openGoldens = async (folder: string, modelFolder: string, numbers: string) => {
  const model = await loadModelFolder(join(folder, modelFolder));
  const weights = await openFrozenWeights(model.weights, { storage: "stored" });
  const stored = JSON.parse(await readFile(join(numbers, "training.json"), "utf8")) as {
    readonly methods: Readonly<Record<string, Golden>>;
    readonly probe_loss: Readonly<Record<string, number>>;
  };
  return {
    model: model.model,
    weights,
    stored,
    batch: await readBatch(join(folder, "batch.safetensors")),
    init: await readTensors(join(numbers, "init.safetensors")),
    gradients: await readTensors(join(numbers, "first_gradients.safetensors")),
    finals: existsSync(join(numbers, "final_weights.safetensors"))
      ? await readTensors(join(numbers, "final_weights.safetensors"))
      : new Map<string, Float32Array>(),
  };
};

/** A method as the goldens know it. */
export interface GoldenCase {
  /** Its name in the stored files. */
  readonly name: string;
  readonly adapter: (model: Model) => Adapter;
  /** Where gradients were taken. */
  readonly places: readonly ("start" | "probe")[];
  /** Where training starts. */
  readonly trainsFrom?: "start" | "probe";
  /** The folder of the model, beside the batch. */
  readonly model?: string;
  /** Where its numbers are stored, if not with the goldens. */
  readonly numbers?: string;
  /** Whether layers are computed again in the backward pass; each is tried. Default: without and with. */
  readonly recomputes?: readonly boolean[];
  /** The stored name of a parameter, where it differs; undefined for one that has no stored numbers and does not train. */
  readonly storedName?: (parameter: string) => string | undefined;
}

/**
 * Holds a method's losses (2e-5), gradient norms and gradients (1e-4) and final weights (1e-3) against PyTorch's, with and
 * without gradient checkpointing.
 */
export const checkGolden = async (
  t: ExecutionContext,
  folder: string,
  {
    name,
    adapter: build,
    places,
    trainsFrom = "start",
    model: modelName = "tiny-llama",
    numbers = folder,
    recomputes = [false, true],
    storedName = (parameter) => parameter,
  }: GoldenCase,
): Promise<void> => {
  const { model, weights, stored, batch, init, gradients, finals } = await openGoldens(
    folder,
    modelName,
    numbers,
  );
  const golden = stored.methods[name];
  if (!golden) throw new Error(`no ${name} in training.json`);
  const adapter = build(model);
  const close = (a: number, b: number | undefined, tolerance: number, what: string) =>
    t.true(Math.abs(a / (b ?? NaN) - 1) < tolerance, `${what}: ${String(a)}, ${String(b)}`);

  for (const recomputeLayers of recomputes) {
    const runAt = async (where: "start" | "probe") => {
      const store = createParameterStore(
        adapter,
        1,
        (parameter) => {
          const known = storedName(parameter.name);
          if (known === undefined) return undefined;
          return init.get(known) ?? init.get(`${known}_${where}`) ?? init.get(`${name}/${known}`);
        },
        { base: float32Tensors(weights) },
      );
      const session = await openSession(model, adapter, weights, store, recomputeLayers);
      return { store, session };
    };
    for (const where of places) {
      const { store, session } = await runAt(where);
      let compared = 0;
      const { loss } = await session.run(batch, 1 / 13);
      close(loss, stored.probe_loss[`${name}/${where}`], 2e-5, `${where} loss`);
      for (const [parameter, gradient] of store.gradients) {
        const expected = gradients.get(`${name}/${where}/${storedName(parameter) ?? ""}`);
        if (!expected && numbers === folder && modelName !== "tiny-llama") continue;
        if (!expected) throw new Error(`no gradient of ${parameter}`);
        compared++;
        // A bias of keys moves no score: its gradient is noise around zero.
        if (parameter.endsWith("k_proj.bias")) continue;
        const error = distance(gradient.data as Float32Array, expected);
        t.true(error < 1e-4, `${where} gradient of ${parameter}: ${String(error)}`);
      }
      t.true(compared > 0);
      session.dispose();
    }

    const { store, session } = await runAt(trainsFrom);
    const optimizer = await AdamW.create(store, {
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: 0.01,
    });
    for (const [step, expected] of golden.loss.entries()) {
      clearGradients(store);
      const { loss } = await session.run(batch, 1 / 13);
      const norm = await optimizer.gradientNorm();
      close(loss, expected, 2e-5, `step ${String(step)}`);
      close(norm, golden.grad_norm[step], 1e-4, `norm of step ${String(step)}`);
      await optimizer.update(step + 1, golden.lr[step] ?? NaN, clipFactor(norm, 1));
    }
    for (const [parameter, value] of store.values) {
      const expected = finals.get(`${name}/${storedName(parameter) ?? ""}`);
      if (!expected) continue;
      const error = distance(value.data as Float32Array, expected);
      t.true(error < 1e-3, `final ${parameter}: ${String(error)}`);
    }
    optimizer.dispose();
    session.dispose();
  }
};

const openSession = (
  model: Model,
  adapter: Adapter,
  weights: FrozenWeights,
  store: ReturnType<typeof createParameterStore>,
  recomputeLayers: boolean,
): Promise<LossSession> =>
  LossSession.create(
    { model, adapter, maxPositions: 24, chunks: 3, gradients: true, recomputeLayers },
    weights,
    store,
    cpuPlan(1),
  );
