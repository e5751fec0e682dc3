import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { llamaLinearModules } from "../../src/models/llama.js";
import { llamaTensors } from "../../src/models/llama-config.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
} from "../../src/models/weights/safetensors.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { kaimingUniform, zeros } from "../../src/peft/init.js";
import type { MethodOptions } from "../../src/peft/method.js";
import { selectTargets } from "../../src/peft/targets.js";
import { AdamW, clipFactor } from "../../src/train/adamw.js";
import { LossSession, type TokenBatch } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { testWithShared } from "../support/shared.js";

const readTensors = async (path: string): Promise<ReadonlyMap<string, Float32Array>> => {
  const { entries } = await readSafetensorsHeader(path);
  const read = [...entries.values()].filter(({ dtype }) => dtype === "float32");
  return new Map(
    await Promise.all(
      read.map(async (entry) => [entry.name, await readTensorAsFloat32(entry)] as const),
    ),
  );
};

const readBatch = async (
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
const distance = (a: Float32Array, b: Float32Array): number => {
  let [difference, size] = [0, 0];
  for (const [i, x] of b.entries()) {
    difference += ((a[i] ?? NaN) - x) ** 2;
    size += x ** 2;
  }
  return size === 0 ? Math.sqrt(difference) : Math.sqrt(difference / size);
};

const options: MethodOptions = {
  rank: 8,
  initA: kaimingUniform,
  initB: zeros,
  trainA: true,
  trainB: true,
  randomR: false,
  biasTwice: false,
};

interface Golden {
  readonly loss: readonly number[];
  readonly grad_norm: readonly number[];
  readonly lr: readonly number[];
  readonly loss_after: number;
}

const checkMethod = async (
  t: ExecutionContext,
  folder: string,
  method: "hira" | "full",
): Promise<void> => {
  const model = await loadModelFolder(join(folder, "tiny-llama"));
  const weights = await openFrozenWeights(model.weights, { storage: "stored" });
  const init = await readTensors(join(folder, "init.safetensors"));
  const gradients = await readTensors(join(folder, "first_gradients.safetensors"));
  const finals = await readTensors(join(folder, "final_weights.safetensors"));
  const text = await readFile(join(folder, "training.json"), "utf8");
  const stored = JSON.parse(text) as {
    readonly methods: Readonly<Record<string, Golden>>;
    readonly probe_loss: Readonly<Record<string, number>>;
  };
  const golden = stored.methods[method];
  if (!golden) throw new Error(`no ${method} in training.json`);
  const batch = await readBatch(join(folder, "batch.safetensors"));

  const modules = llamaLinearModules(model.config);
  const adapter: Adapter =
    method === "full"
      ? createFullAdapter(fft, options, llamaTensors(model.config))
      : createLinearAdapter(
          hira,
          options,
          selectTargets(modules, "q_proj,k_proj,v_proj,up_proj,down_proj"),
        );

  for (const recomputeLayers of [false, true]) {
    const runAt = async (where: "start" | "probe") => {
      const store = createParameterStore(adapter, 1, ({ name }) =>
        method === "full"
          ? (weights.tensor(name).data as Float32Array)
          : (init.get(name) ?? init.get(`${name}_${where}`)),
      );
      const session = await LossSession.create(
        {
          config: model.config,
          adapter,
          maxPositions: 24,
          chunks: 3,
          gradients: true,
          recomputeLayers,
        },
        weights,
        store,
      );
      return { store, session };
    };
    for (const where of method === "full" ? (["start"] as const) : (["start", "probe"] as const)) {
      const { store, session } = await runAt(where);
      const { loss } = await session.run(batch, 1 / 13);
      t.true(
        Math.abs(loss / (stored.probe_loss[`${method}/${where}`] ?? NaN) - 1) < 2e-5,
        `${where} loss ${String(loss)}`,
      );
      for (const [name, gradient] of store.gradients) {
        const expected = gradients.get(`${method}/${where}/${name}`);
        if (!expected) throw new Error(`no gradient of ${name}`);
        const error = distance(gradient.data as Float32Array, expected);
        t.true(error < 1e-4, `${where} gradient of ${name}: ${String(error)}`);
      }
      session.dispose();
    }

    const { store, session } = await runAt("start");
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
      t.true(
        Math.abs(loss / expected - 1) < 2e-5,
        `step ${String(step)}: ${String(loss)}, ${String(expected)}`,
      );
      t.true(
        Math.abs(norm / (golden.grad_norm[step] ?? NaN) - 1) < 1e-4,
        `norm of step ${String(step)}`,
      );
      await optimizer.update(step + 1, golden.lr[step] ?? NaN, clipFactor(norm, 1));
    }
    for (const [name, value] of store.values) {
      const expected = finals.get(`${method}/${name}`);
      if (expected) t.true(distance(value.data as Float32Array, expected) < 1e-3, `final ${name}`);
    }
    optimizer.dispose();
    session.dispose();
  }
};

testWithShared("HiRA's losses, gradients and final weights are PyTorch's", "goldens", (t, folder) =>
  checkMethod(t, folder, "hira"),
);

testWithShared("full fine-tuning's losses and gradients are PyTorch's", "goldens", (t, folder) =>
  checkMethod(t, folder, "full"),
);

testWithShared("the plain model's logits are PyTorch's", "goldens", async (t, folder) => {
  const model = await loadModelFolder(join(folder, "tiny-llama"));
  const weights = await openFrozenWeights(model.weights, { storage: "stored" });
  const batch = await readBatch(join(folder, "batch.safetensors"));
  const session = await LossSession.create(
    {
      config: model.config,
      adapter: undefined,
      maxPositions: 24,
      chunks: 1,
      gradients: false,
      recomputeLayers: false,
      allLogits: true,
    },
    weights,
    undefined,
  );
  const { logits } = await session.run(batch, 1 / 13);
  session.dispose();
  const real = (array: Float32Array) =>
    array.filter((_, i) => batch.attentionMask[Math.floor(i / 256)] === 1);
  t.true(distance(real(logits ?? new Float32Array()), real(batch.baseLogits)) < 1e-4);
});
