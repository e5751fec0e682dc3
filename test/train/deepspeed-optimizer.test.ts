import { readFileSync } from "node:fs";
import test from "ava";
import type { SchedulerSettings } from "../../src/distributed/scheduler-settings.js";
import type { AdapterParameter } from "../../src/peft/adapter.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { AdamW } from "../../src/train/adamw.js";
import { createParameterStore } from "../../src/train/parameters.js";
import { learningRate } from "../../src/train/schedule.js";
import { ownMemoryDevice } from "../support/own-memory-device.js";

interface Reference {
  readonly lr: number;
  readonly start: readonly number[];
  readonly gradients: readonly (readonly number[])[];
  readonly adam: readonly {
    readonly name: string;
    readonly params: {
      readonly betas: readonly [number, number];
      readonly eps: number;
      readonly weight_decay: number;
      readonly adam_w_mode: boolean;
      readonly bias_correction: boolean;
    };
    readonly values: readonly (readonly number[])[];
  }[];
  readonly peak: number;
  readonly schedulers: readonly {
    readonly type: SchedulerSettings["type"];
    readonly params: {
      readonly warmup_type: SchedulerSettings["warmupType"];
      readonly warmup_min_lr?: number;
      readonly warmup_min_ratio?: number;
      readonly cos_min_ratio?: number;
      readonly warmup_num_steps: number;
      readonly total_num_steps?: number;
    };
    readonly rates: readonly number[];
  }[];
}

// Made by scripts/reference/deepspeed_optimizer.py.
const reference = JSON.parse(
  readFileSync("test/fixtures/train/deepspeed-optimizer.json", "utf8"),
) as Reference;

const elsewhere = ownMemoryDevice({ canSlice: true }).device;
for (const plan of [cpuPlan(1), { ...cpuPlan(1), device: elsewhere }])
  for (const { name, params, values } of reference.adam)
    test(`AdamW has torch's numbers: ${name}, on ${plan.device.name}`, async (t) => {
      const parameters: readonly AdapterParameter[] = ["decayed", "plain"].map((name) => ({
        ...{ name, shape: [5], trainable: true, decays: name === "decayed" },
        init: () => Float32Array.from(reference.start),
      }));
      const { device } = plan;
      const store = createParameterStore({ parameters }, 1, () => undefined, { device });
      const optimizer = await AdamW.create(
        store,
        {
          beta1: params.betas[0],
          beta2: params.betas[1],
          epsilon: params.eps,
          weightDecay: params.weight_decay,
          isDecoupled: params.adam_w_mode,
          biasCorrection: params.bias_correction,
        },
        plan,
      );
      for (const [i, gradient] of reference.gradients.entries()) {
        for (const tensor of store.gradients.values())
          device.write(tensor, Float32Array.from(gradient));
        await optimizer.update(i + 1, reference.lr, 1);
        const tensor = store.values.get("decayed");
        const found = tensor ? (device.read(tensor) as Float32Array) : [];
        for (const [j, expected] of (values[i] ?? []).entries())
          t.true(
            Math.abs((found[j] ?? NaN) - expected) < 2e-6,
            `update ${String(i + 1)}: ${String(found[j])} in place of ${String(expected)}`,
          );
      }
      // A group without decay moves as if the decay were none.
      const [decayed, plain] = ["decayed", "plain"].map((name) => {
        const tensor = store.values.get(name);
        return tensor ? [...(device.read(tensor) as Float32Array)] : [];
      });
      if (params.weight_decay === 0) t.deepEqual(plain, decayed);
      else t.notDeepEqual(plain, decayed);
      optimizer.dispose();
    });

for (const { type, params, rates } of reference.schedulers)
  test(`learningRate has DeepSpeed's rates: ${type} ${JSON.stringify(params)}`, (t) => {
    const schedule = {
      peak: reference.peak,
      warmupSteps: params.warmup_num_steps,
      totalSteps: params.total_num_steps ?? 16,
      scheduler: {
        type,
        warmupType: params.warmup_type,
        start: params.warmup_min_lr ?? params.warmup_min_ratio ?? 0,
        end: params.cos_min_ratio ?? 0,
      },
    };
    t.is(rates.length, 16);
    for (const [done, expected] of rates.entries())
      t.true(
        Math.abs(learningRate(schedule, done) - expected) <= 1e-15,
        `after ${String(done)} updates: ${String(learningRate(schedule, done))} in place of ${String(expected)}`,
      );
  });
