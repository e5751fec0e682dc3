/**
 * Three AdamW updates of `millions` * 2^20 parameters, with the moments where --optim puts them: run it under a memory limit.
 *
 * usage: npx tsx scripts/bench/paged-moments.ts adamw_torch|paged_adamw_32bit FOLDER MILLIONS
 * Parameters and gradients take 8 MiB a million, the moments as much again. With cgroups (version 1, as root):
 *   mkdir /sys/fs/cgroup/memory/small; echo 900M > /sys/fs/cgroup/memory/small/memory.limit_in_bytes
 *   bash -c 'echo $$ > /sys/fs/cgroup/memory/small/cgroup.procs; exec npx tsx scripts/bench/paged-moments.ts ...'
 */
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";
import { UserError } from "../../src/core/errors.js";
import { peakMemoryBytes } from "../../src/runtime/memory.js";
import { AdamW, defaultAdamW } from "../../src/train/adamw.js";
import { momentAllocator, optimizers } from "../../src/train/optimizer.js";
import { createParameterStore } from "../../src/train/parameters.js";

const [name, folder = ".", millions = "64"] = process.argv.slice(2);
const optimizer = optimizers.find((known) => known === name);
if (!optimizer)
  throw new UserError(`Cannot measure "${name ?? ""}": expected one of ${optimizers.join(", ")}`);
const shape = [Number(millions) * 2 ** 20];
const store = createParameterStore(
  {
    parameters: [
      {
        name: "w",
        shape,
        trainable: true,
        decays: true,
        init: () => new Float32Array(shape[0] ?? 0),
      },
    ],
  },
  1,
  () => undefined,
  { moments: momentAllocator(optimizer, folder, cpuDevice) },
);
for (const { gradients } of store.groups) (gradients.data as Float32Array).fill(0.5);
const adamw = await AdamW.create(store, defaultAdamW, cpuPlan(1));
const steps = 3;
const begun = performance.now();
for (let step = 1; step <= steps; step++) await adamw.update(step, 1e-3, 1);
const stepMs = (performance.now() - begun) / steps;
console.log(
  `${optimizer}: ${stepMs.toFixed(0)} ms an update, peak ${(peakMemoryBytes() / 2 ** 20).toFixed(0)} MiB`,
);
