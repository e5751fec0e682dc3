import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import type { Precision } from "../../src/core/precision.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { float32Tensors, openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createFullAdapter, createLinearAdapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { linearMethods, virtualMethods, type MethodOptions } from "../../src/peft/registry.js";
import type { LinearMethod, VirtualTokenMethod } from "../../src/peft/method.js";
import { selectTargets } from "../../src/peft/targets.js";
import { createVirtualAdapter } from "../../src/peft/virtual-tokens.js";
import type { Device } from "../../src/runtime/device.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { deviceBounds } from "../../src/train/device-bounds.js";
import { openChecked } from "../../src/train/device-check.js";
import { createParameterStore } from "../../src/train/parameters.js";
import { readBatch } from "../support/goldens.js";
import { halfDevice } from "../support/half-device.js";

/** See scripts/reference/model_goldens.py. */
const fixtures = fileURLToPath(new URL("../fixtures/models/families", import.meta.url));

type Opened = Awaited<ReturnType<typeof openFamily>>;

const openFamily = async (family: string) => {
  const folder = join(fixtures, family);
  const { model, weights } = await loadModelFolder(join(folder, "model"));
  const { targets, rank, alpha } = JSON.parse(
    readFileSync(join(folder, "training.json"), "utf8"),
  ) as { readonly targets: readonly string[]; readonly rank: number; readonly alpha: number };
  return {
    model,
    weights: await openFrozenWeights(weights, { storage: "stored" }),
    batch: await readBatch(join(folder, "batch.safetensors")),
    targets: selectTargets(model.linears, targets.join(",")),
    options: { rank, alpha },
  };
};

const methods = [...Object.keys(linearMethods), ...Object.keys(virtualMethods), "fft"];

const adapterOf = ({ model, targets, options }: Opened, name: string) => {
  if (name === "fft") return createFullAdapter(fft, model.tensors);
  if (name in virtualMethods) {
    const virtual: VirtualTokenMethod<MethodOptions> =
      virtualMethods[name as keyof typeof virtualMethods];
    return createVirtualAdapter(virtual, { virtualTokens: 4 }, model);
  }
  const method: LinearMethod<MethodOptions> = linearMethods[name as keyof typeof linearMethods];
  return createLinearAdapter(method, options, targets);
};

/** The relative distance of all gradients together from the CPU's in float32, and whether each is within the bounds. */
const gradientsOf = async (
  opened: Opened,
  method: string,
  device: Device,
  precision: Precision,
) => {
  const { model, weights, batch } = opened;
  const adapter = adapterOf(opened, method);
  const base = float32Tensors(weights);
  const names = new Set(weights.names);
  const store = createParameterStore(
    adapter,
    1,
    ({ name }) => (names.has(name) ? base(name) : undefined),
    { base },
  );
  const graph = { model, adapter, maxPositions: 24, chunks: 1, gradients: true };
  const { session, found } = await openChecked({
    options: { ...graph, recomputeLayers: false },
    ...{ weights, store, batch, seed: 3 },
    plan: { device, precision, threads: 1 },
  });
  session.dispose();
  const squares = (of: (error: (typeof found.gradients)[0]) => number): number =>
    found.gradients.reduce((sum, gradient) => sum + of(gradient) ** 2, 0);
  return {
    loss: Math.abs(found.loss.device / found.loss.cpu - 1),
    all: Math.sqrt(squares(({ error, norm }) => error * norm) / squares(({ norm }) => norm)),
    worst: Math.max(...found.gradients.map(({ error }) => error)),
  };
};

/**
 * Losses and gradients within the bounds of the device check, and all gradients together within `together`.
 */
const holds = async (
  t: ExecutionContext,
  opened: Opened,
  {
    method,
    device,
    precision,
    together,
  }: {
    readonly method: string;
    readonly device: Device;
    readonly precision: Precision;
    readonly together: number;
  },
): Promise<void> => {
  const { loss, all, worst } = await gradientsOf(opened, method, device, precision);
  const found = `${precision} ${method}: loss ${String(loss)}, gradients ${String(all)}, worst ${String(worst)}`;
  t.true(loss <= deviceBounds[precision].loss, found);
  // Gradients of zeros (a prefix beyond the window) have no relative error.
  t.true(Number.isNaN(all) || all <= together, found);
  t.true(worst <= deviceBounds[precision].gradient, found);
};

// Each family meets HiRA and two of the others, each method one or two families.
for (const [i, family] of readdirSync(fixtures).entries())
  test(`${family}: gradients in fp16 on the CPU are float32's within 2 %`, async (t) => {
    const opened = await openFamily(family);
    for (const method of new Set([
      "hira",
      ...[i, i + 1].map((k) => methods[k % methods.length] ?? ""),
    ])) {
      // Its embeddings are narrower than its layers, which p-tuning does not know.
      if (family === "opt-projected" && method === "p-tuning") continue;
      await holds(t, opened, { method, device: cpuDevice, precision: "fp16", together: 0.02 });
    }
  });

for (const family of ["gpt2", "gemma2", "opt"])
  test(`${family}: gradients in bf16 and mixed are float32's within 4 %, where 16-bit kernels round each result once`, async (t) => {
    const opened = await openFamily(family);
    for (const method of ["hira", "dora"]) {
      const mixed = halfDevice({ compute: "bfloat16", keep: "matmuls" });
      const bf16 = halfDevice({ compute: "bfloat16", keep: "everything" });
      await holds(t, opened, { method, device: mixed, precision: "mixed", together: 0.04 });
      await holds(t, opened, { method, device: bf16, precision: "bf16", together: 0.04 });
    }
  });
