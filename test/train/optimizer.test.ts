import { cpuPlan } from "../../src/runtime/compute-plan.js";
import test from "ava";
import { randomStream } from "../../src/core/random.js";
import type { AdapterParameter } from "../../src/peft/adapter.js";
import { AdamW, defaultAdamW } from "../../src/train/adamw.js";
import {
  momentAllocator,
  offloadedOptimizer,
  optimizers,
  type Optimizer,
} from "../../src/train/optimizer.js";
import { createParameterStore } from "../../src/train/parameters.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { readZero } from "../../src/distributed/ds-config-zero.js";
import { Reading } from "../../src/distributed/ds-config-reading.js";
import { ownMemoryDevice } from "../support/own-memory-device.js";
import { makeTempFolder } from "../support/temp-folder.js";

const parameters: readonly AdapterParameter[] = ["a", "b"].map((name) => ({
  name,
  shape: [300, 70],
  trainable: true,
  decays: name === "a",
  init: (_shape, seed) => {
    const stream = randomStream(seed, name);
    return Float32Array.from({ length: 300 * 70 }, () => stream.normal());
  },
}));

test("AdamW computes the same bits with its moments in a mapped file as in memory", async (t) => {
  const folder = await makeTempFolder(t);
  const train = async (optimizer: Optimizer): Promise<readonly Uint8Array[]> => {
    const moments = momentAllocator(optimizer, folder, cpuDevice);
    const store = createParameterStore({ parameters }, 7, () => undefined, { moments });
    const adamw = await AdamW.create(store, defaultAdamW, cpuPlan(1));
    for (let step = 1; step <= 5; step++) {
      for (const [name, { data }] of store.gradients) {
        const stream = randomStream(step, name);
        (data as Float32Array).forEach((_, i, all) => (all[i] = stream.normal()));
      }
      await adamw.update(step, 1e-2, 0.5);
    }
    adamw.dispose();
    return [store.values, store.m, store.v].flatMap((table) =>
      [...table.values()].map(({ data }) => new Uint8Array(data.slice().buffer)),
    );
  };
  const [inMemory, paged] = [await train(optimizers[0]), await train(optimizers[1])];
  t.is(inMemory.length, 6);
  t.deepEqual(paged, inMemory);
  t.true(paged[2]?.some((byte) => byte !== 0));
});

test("offloading is where the host's memory is, or in files, and refused on a device with memory of its own", (t) => {
  const optimizer = "adamw_torch";
  const zeroOf = (block: object) =>
    readZero({ zero_optimization: { stage: 3, ...block } }, {}, new Reading());
  const on = (block: object, device = cpuDevice) =>
    offloadedOptimizer({ optimizer, zero: zeroOf(block) }, "runs", device);
  const plain = { optimizer, folder: "runs" };
  t.deepEqual(on({}), plain);
  t.deepEqual(on({ offload_optimizer: { device: "cpu" } }), plain);
  t.deepEqual(on({ offload_param: { device: "cpu" } }), plain);
  t.deepEqual(on({ offload_optimizer: { device: "nvme", nvme_path: "/fast" } }), {
    optimizer: "paged_adamw_32bit",
    folder: "/fast",
  });
  const { device } = ownMemoryDevice({ canSlice: true });
  t.deepEqual(on({}, device), plain);
  for (const part of ["offload_optimizer", "offload_param"])
    t.throws(() => on({ [part]: { device: "cpu" } }, device), {
      name: "UserError",
      message: new RegExp(`zero_optimization\\.${part} .*found "cpu", expected "none"`),
    });
});
