import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import {
  readDeepSpeedConfig,
  type DeepSpeedConfig,
  type DeepSpeedSettings,
} from "../../src/distributed/ds-config.js";
import { zeroSettingsOf } from "../../src/distributed/zero-settings.js";
import { defaultLossScaling } from "../../src/distributed/loss-scaling.js";

const settings: DeepSpeedSettings = {
  batch: 16,
  gradAcc: 2,
  processes: 1,
  lr: 1e-3,
  weightDecay: 0.01,
  warmup: 100,
  maxGradNorm: 1,
  precision: undefined,
  precisions: ["fp32", "bf16", "fp16"],
};

/** Reads a configuration given as an object, with these settings in place of the usual ones. */
const read = async (
  config: unknown,
  replaced: Partial<DeepSpeedSettings> = {},
): Promise<DeepSpeedConfig> => {
  const path = join(await mkdtemp(join(tmpdir(), "hira-ds-")), "ds.json");
  await writeFile(path, typeof config === "string" ? config : JSON.stringify(config));
  return readDeepSpeedConfig(path, { ...settings, ...replaced });
};

const batch = { train_micro_batch_size_per_gpu: "auto" };
const fp16 = { fp16: { enabled: true } };
const tune = {
  autotuning: {
    enabled: true,
    overwrite: false,
    fast: true,
    arg_mappings: {
      train_micro_batch_size_per_gpu: "--per_device_train_batch_size",
      "gradient_accumulation_steps ": "--gradient_accumulation_steps",
    },
  },
};

const idle = (...keys: readonly string[]): string =>
  `${keys.map((key) => `zero_optimization.${key}`).join(", ")} have nothing to do here: about speed, memory and logs of DeepSpeed's own engine, not about the numbers`;

const autotuningLine =
  "autotuning acts in hira launch --autotuning=tune|run; this run trains as its flags say";

// The eleven files of the original, and the lines about what of each has no effect.
const files: Readonly<Record<string, readonly [content: object, lines: readonly string[]]>> = {
  ds_config_z0: [{ ...batch, zero_optimization: { stage: 0 } }, []],
  ds_config_z1: [{ ...batch, zero_optimization: { stage: 1 } }, []],
  ds_config_z2: [{ ...batch, zero_optimization: { stage: 2 } }, []],
  ds_config_z3: [
    {
      ...batch,
      zero_optimization: { stage: 3, stage3_gather_16bit_weights_on_model_save: true },
    },
    [],
  ],
  ds_config_fp16_z0: [{ ...batch, zero_optimization: { stage: 0 }, ...fp16 }, []],
  ds_config_fp16_z1: [{ ...batch, zero_optimization: { stage: 1 }, ...fp16 }, []],
  ds_config_fp16_z2: [{ ...batch, zero_optimization: { stage: 2 }, ...fp16 }, []],
  ds_config_fp16_z3: [
    {
      ...batch,
      zero_optimization: {
        stage: 3,
        overlap_comm: true,
        contiguous_gradients: true,
        reduce_bucket_size: "auto",
        stage3_prefetch_bucket_size: "auto",
        stage3_param_persistence_threshold: "auto",
        sub_group_size: 1e9,
        stage3_max_live_parameters: 1e9,
        stage3_max_reuse_distance: 1e9,
        stage3_gather_16bit_weights_on_model_save: true,
      },
      ...fp16,
    },
    [
      idle(
        ...["contiguous_gradients", "reduce_bucket_size", "sub_group_size"],
        ...["stage3_prefetch_bucket_size", "stage3_max_live_parameters"],
        "stage3_max_reuse_distance",
      ),
    ],
  ],
  ds_config_fp16_z3pp: [
    {
      ...batch,
      zero_optimization: {
        stage: 3,
        zero_quantized_weights: true,
        zero_quantized_gradients: true,
        zero_hpz_partition_size: 16,
        contiguous_gradients: true,
        overlap_comm: true,
      },
      ...fp16,
    },
    [
      "zero_optimization.zero_quantized_weights would gather the weights in 8 bits (ZeRO++): not done here, the numbers are those without",
      "zero_optimization.zero_quantized_gradients would send the gradients in 4 and 8 bits (ZeRO++): not done here, the numbers are those without",
      "zero_optimization.zero_hpz_partition_size would keep a second copy of the weights' shares within a host (ZeRO++): not done here, the numbers are those without",
      idle("contiguous_gradients").replace("have", "has"),
    ],
  ],
  ds_config_tune: [{ ...batch, ...tune }, [autotuningLine]],
  ds_config_fp16_tune: [{ ...batch, ...fp16, ...tune }, [autotuningLine]],
};

test("ds_configs has the eleven files of the original", async (t) => {
  const names = (await readdir("ds_configs")).filter((name) => name.endsWith(".json"));
  t.deepEqual(
    names.sort(),
    Object.keys(files)
      .map((name) => `${name}.json`)
      .sort(),
  );
});

for (const [name, [content, lines]] of Object.entries(files)) {
  const path = `ds_configs/${name}.json`;
  test(`${path} has the original's content, and is read`, async (t) => {
    t.deepEqual(JSON.parse(await readFile(path, "utf8")), content);
    const config = await readDeepSpeedConfig(path, settings);
    const precision = name.includes("fp16") ? "fp16" : "fp32";
    t.like(config, { path, precision, totalSteps: undefined });
    t.is(config.resolved["train_micro_batch_size_per_gpu"], 16);
    t.is(config.zero.stage, Number(/_z(\d)/.exec(name)?.[1] ?? 0) as 0 | 1 | 2 | 3);
    t.deepEqual(
      config.warnings,
      lines.map((line) => `${path}: ${line}`),
    );
  });
}

test("readDeepSpeedConfig resolves zero_optimization into settings, with DeepSpeed's defaults", async (t) => {
  const { zero } = await read({});
  t.deepEqual(zero, {
    ...{ stage: 0, overlapComm: false, contiguousGradients: true, reduceScatter: true },
    ...{ reduceBucketSize: 5e8, allgatherPartitions: true, allgatherBucketSize: 5e8 },
    ...{ roundRobinGradients: false, subGroupSize: 1e9, prefetchBucketSize: 5e7 },
    ...{ paramPersistenceThreshold: 1e5, modelPersistenceThreshold: Number.MAX_SAFE_INTEGER },
    ...{ maxLiveParameters: 1e9, maxReuseDistance: 1e9, gather16bitWeightsOnModelSave: false },
    ...{ offloadOptimizer: { device: "none" }, offloadParam: { device: "none" } },
  });
  const file = {
    stage: 3,
    reduce_bucket_size: "auto",
    prefetch_bucket_size: "auto",
    stage3_param_persistence_threshold: 0,
    stage3_max_live_parameters: 2e6,
    contiguous_gradients: false,
    cpu_offload: true,
    offload_param: { device: "nvme", nvme_path: "/scratch", pin_memory: true },
  };
  const { zero: asked, warnings } = await read({ zero_optimization: file });
  t.like(asked, {
    ...{ stage: 3, overlapComm: true, reduceBucketSize: "auto", prefetchBucketSize: "auto" },
    ...{ paramPersistenceThreshold: 0, maxLiveParameters: 2e6, contiguousGradients: false },
    offloadOptimizer: { device: "cpu" },
    offloadParam: { device: "nvme", path: "/scratch" },
  });
  t.like(zeroSettingsOf(asked, 100), {
    ...{ reduceBucketSize: 10_000, prefetchBucketSize: 9000, paramPersistenceThreshold: 0 },
  });
  t.true(warnings.some((line) => line.includes("cpu_offload: the moments are in the host's")));
  t.true(warnings.some((line) => line.includes("offload_param.pin_memory")));
});

test("readDeepSpeedConfig takes betas, eps and the forms of Adam from the file", async (t) => {
  const params = { lr: "auto", weight_decay: "auto" };
  const adam = async (type: string, more: object) =>
    (await read({ optimizer: { type, params: { ...params, ...more } } })).adam;
  const plain = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  t.is((await read({})).adam, undefined);
  t.deepEqual(await adam("Adam", { betas: "auto", eps: "auto" }), {
    ...plain,
    ...{ isDecoupled: true, biasCorrection: true },
  });
  t.deepEqual(await adam("adamw", { betas: [0.8, 0.95], eps: 1e-6, bias_correction: false }), {
    ...{ beta1: 0.8, beta2: 0.95, epsilon: 1e-6, isDecoupled: true, biasCorrection: false },
  });
  t.deepEqual(await adam("Adam", { adam_w_mode: false }), {
    ...plain,
    ...{ isDecoupled: false, biasCorrection: true },
  });
  // As in DeepSpeed, type AdamW wins over adam_w_mode.
  t.like(await adam("AdamW", { adam_w_mode: false }), { isDecoupled: true });
});

test("readDeepSpeedConfig reads the schedulers that warm up", async (t) => {
  const steps = { warmup_num_steps: "auto" };
  const asked = async (type: string, params: object) => {
    const { scheduler, totalSteps } = await read({
      scheduler: { type, params: { ...steps, ...params } },
    });
    return [scheduler, totalSteps];
  };
  t.deepEqual(await asked("WarmupLR", { warmup_min_lr: 1e-5, warmup_max_lr: "auto" }), [
    { type: "WarmupLR", warmupType: "log", start: 1e-5, end: 0 },
    undefined,
  ]);
  t.deepEqual(
    await asked("WarmupCosineLR", {
      ...{ warmup_type: "linear", warmup_min_ratio: 0.1, cos_min_ratio: 0.01 },
      total_num_steps: 300,
    }),
    [{ type: "WarmupCosineLR", warmupType: "linear", start: 0.1, end: 0.01 }, 300],
  );
});

test("readDeepSpeedConfig replaces every auto that transformers replaces", async (t) => {
  const { resolved, totalSteps } = await read(
    {
      train_batch_size: "auto",
      train_micro_batch_size_per_gpu: "auto",
      gradient_accumulation_steps: "auto",
      gradient_clipping: "auto",
      optimizer: {
        type: "AdamW",
        params: { lr: "auto", betas: "auto", eps: "auto", weight_decay: "auto" },
      },
      scheduler: {
        type: "WarmupDecayLR",
        params: {
          warmup_type: "linear",
          warmup_min_lr: "auto",
          warmup_max_lr: "auto",
          warmup_num_steps: "auto",
          total_num_steps: "auto",
        },
      },
      fp16: { enabled: "auto", loss_scale: 0 },
      bf16: { enabled: "auto" },
      zero_optimization: {
        stage: 2,
        reduce_bucket_size: "auto",
        stage3_prefetch_bucket_size: "auto",
        stage3_param_persistence_threshold: "auto",
      },
    },
    { hiddenSize: 64, totalSteps: 500 },
  );
  t.deepEqual(resolved, {
    train_batch_size: 32,
    train_micro_batch_size_per_gpu: 16,
    gradient_accumulation_steps: 2,
    gradient_clipping: 1,
    optimizer: {
      type: "AdamW",
      params: { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 },
    },
    scheduler: {
      type: "WarmupDecayLR",
      params: {
        warmup_type: "linear",
        warmup_min_lr: 0,
        warmup_max_lr: 1e-3,
        warmup_num_steps: 100,
        total_num_steps: 500,
      },
    },
    fp16: { enabled: false, loss_scale: 0 },
    bf16: { enabled: false },
    zero_optimization: {
      stage: 2,
      reduce_bucket_size: 4096,
      stage3_prefetch_bucket_size: 3686,
      stage3_param_persistence_threshold: 640,
    },
  });
  t.is(totalSteps, 500);
});

test("readDeepSpeedConfig takes the file's values where they are the run's", async (t) => {
  await t.notThrowsAsync(
    read({
      train_batch_size: 32,
      train_micro_batch_size_per_gpu: 16,
      gradient_clipping: 1.0,
      optimizer: { type: "Adam", params: { lr: 0.001, weight_decay: 0.01 } },
      zero_optimization: {
        stage: 1,
        allgather_bucket_size: 5e8,
        offload_optimizer: { device: "none" },
      },
      steps_per_print: 10,
      wall_clock_breakdown: false,
      tensorboard: { enabled: false },
    }),
  );
});

test("readDeepSpeedConfig leaves the number of updates open until it is known", async (t) => {
  const scheduler = (total: unknown) => ({
    scheduler: {
      type: "WarmupDecayLR",
      params: {
        warmup_type: "linear",
        warmup_max_lr: "auto",
        warmup_num_steps: "auto",
        total_num_steps: total,
      },
    },
  });
  t.is((await read(scheduler("auto"))).totalSteps, undefined);
  t.is((await read(scheduler(700))).totalSteps, 700);
  await t.throwsAsync(read(scheduler(700), { totalSteps: 500 }), {
    message: /total_num_steps: found 700, expected 500 \(the updates of this run\)/,
  });
  await t.throwsAsync(read(scheduler(undefined)), { message: /total_num_steps: found nothing/ });
});

test("readDeepSpeedConfig reports every contradiction at once, as transformers does", async (t) => {
  const error = await t.throwsAsync(
    read({
      train_batch_size: 64,
      train_micro_batch_size_per_gpu: 8,
      gradient_accumulation_steps: 1,
      gradient_clipping: 0.5,
      optimizer: { type: "AdamW", params: { lr: 1e-4, betas: [0.9, 1] } },
      zero_optimization: { stage: "auto" },
      elasticity: { enabled: true },
    }),
  );
  const lines = error.message.split("\n").slice(1);
  t.deepEqual(lines, [
    '  train_micro_batch_size_per_gpu: found 8, expected 16 (--batch) or "auto"',
    '  gradient_accumulation_steps: found 1, expected 2 (--grad_acc) or "auto"',
    '  train_batch_size: found 64, expected 32 (--batch times --grad_acc times the processes) or "auto"',
    '  gradient_clipping: found 0.5, expected 1 (--max_grad_norm) or "auto"',
    '  optimizer.params.lr: found 0.0001, expected 0.001 (--lr) or "auto"',
    '  optimizer.params.weight_decay: found nothing, for which DeepSpeed takes 0, expected 0.01 (--weight_decay) or "auto"',
    '  optimizer.params.betas: found [0.9,1], expected two numbers from 0 to below 1, or "auto"',
    '  zero_optimization.stage: found "auto", expected 0, 1, 2 or 3',
    "  elasticity.enabled: found true, expected false: the batch would follow the number of processes; here it stays what the flags say",
  ]);
  const { hint = "" } = error as { hint?: string };
  t.regex(hint, /^With "auto" in the file, the flags decide\n"auto" may stand for batch sizes/);
});

test("readDeepSpeedConfig warns of top-level keys that DeepSpeed passes over, and of those with nothing to do here (9.24)", async (t) => {
  const { warnings } = await read({
    steps_per_print: 10,
    comms_config: { verbose: true },
    monitor_config: {},
    my_note: "for Slurm",
    train_micro_batch_size: 8,
  });
  t.deepEqual(
    warnings.map((line) => line.replace(/^.*?: /, "")),
    [
      'found my_note, train_micro_batch_size (Did you mean "train_batch_size"?), which DeepSpeed does not know: without effect',
      "comms_config, monitor_config, steps_per_print have nothing to do here: about speed, memory and logs of DeepSpeed's own engine, not about the numbers",
    ],
  );
  t.deepEqual(
    (await read({ wall_clock_breakdown: false, wandb: { enabled: false } })).warnings,
    [],
  );
});

test("readDeepSpeedConfig suggests a key for an unknown one in a block", async (t) => {
  const error = await t.throwsAsync(
    read({
      train_micro_batch_size: 16,
      zero_optimization: { stages: 2 },
      optimizer: { type: "AdamW", params: { lr: "auto", weight_decay: "auto", beta: 1 } },
      fp16: { enable: false },
    }),
  );
  t.is(error.message.split("found an unknown key").length, 4);
  t.regex(
    (error as { hint?: string }).hint ?? "",
    /zero_optimization\.stages: Did you mean "stage"\?/,
  );
  t.regex((error as { hint?: string }).hint ?? "", /fp16\.enable: Did you mean "enabled"\?/);
});

test("readDeepSpeedConfig reads how fp16 scales the loss, with DeepSpeed's defaults, and refuses numbers that cannot be", async (t) => {
  const settings = { precisions: ["fp32", "fp16"] } as const;
  t.deepEqual((await read({ fp16: { enabled: true } }, settings)).lossScaling, defaultLossScaling);
  t.deepEqual((await read({})).lossScaling, defaultLossScaling);
  const fp16 = { loss_scale_window: 5, hysteresis: 3, consecutive_hysteresis: true };
  t.deepEqual(
    (await read({ fp16: { enabled: true, loss_scale: 0.5, ...fp16 } }, settings)).lossScaling,
    {
      ...defaultLossScaling,
      lossScale: 0.5,
      lossScaleWindow: 5,
      hysteresis: 3,
      consecutiveHysteresis: true,
    },
  );
  const wrong = { hysteresis: 0, initial_scale_power: 1.5, min_loss_scale: "1" };
  const error = await t.throwsAsync(read({ fp16: { enabled: true, ...wrong } }, settings));
  t.regex(error.message, /fp16\.hysteresis: found 0, expected a whole number of at least 1/);
  t.regex(error.message, /fp16\.initial_scale_power: found 1\.5, expected a whole number/);
  t.regex(error.message, /fp16\.min_loss_scale: found "1", expected a number of at least 0/);
});

test("readDeepSpeedConfig lets the file's precision stand where no flag asks for one", async (t) => {
  const both = { precisions: ["fp32", "bf16", "fp16"] } as const;
  t.is((await read({ fp16: { enabled: true } }, both)).precision, "fp16");
  t.is((await read({ bfloat16: { enabled: true } }, both)).precision, "bf16");
  t.is(
    (await read({ bf16: { enabled: "auto" } }, { ...both, precision: "bf16" })).precision,
    "bf16",
  );
  t.is((await read({}, { ...both, precision: "bf16" })).precision, "bf16");
  await t.throwsAsync(read({ fp16: { enabled: true } }, { ...both, precision: "fp32" }), {
    message: /fp16\.enabled: found true, expected false \(--precision fp32\) or "auto"/,
  });
  await t.throwsAsync(read({ bf16: { enabled: false } }, { ...both, precision: "bf16" }), {
    message: /bf16\.enabled: found false, expected true \(--precision bf16\)/,
  });
  await t.throwsAsync(read({ fp16: { enabled: true }, bf16: { enabled: true } }, both), {
    message: /found both enabled, expected one of them/,
  });
});

for (const [config, message] of [
  [
    { zero_optimization: { stage: 2, offload_optimizer: { device: "nvme" } } },
    /offload_optimizer\.nvme_path: found nothing, expected a folder/,
  ],
  [
    { zero_optimization: { stage: 2, offload_optimizer: { device: "gpu" } } },
    /offload_optimizer\.device: found "gpu", expected one of none, cpu, nvme/,
  ],
  [
    { zero_optimization: { max_live_parameters: 1, stage3_max_live_parameters: 2 } },
    /found max_live_parameters 1 and stage3_max_live_parameters 2, expected one value/,
  ],
  [
    { zero_optimization: { sub_group_size: "auto" } },
    /sub_group_size: found "auto", expected a whole number of at least 0/,
  ],
  [{ zero_optimization: { overlap_comm: "yes" } }, /overlap_comm: found "yes", expected true or/],
  [
    { zero_optimization: { zenflow: { topk_ratio: 0.1 } } },
    /zenflow: found a block, expected none/,
  ],
  [{ zero_optimization: { stage: [1, 2] } }, /stage: found \[1,2\], expected 0, 1, 2 or 3/],
  [
    { optimizer: { type: "Lamb", params: {} } },
    /optimizer\.type: found "Lamb", expected Adam or AdamW: Lamb makes other updates/,
  ],
  [{ optimizer: { type: "OneBitAdam" } }, /found "OneBitAdam", expected Adam or AdamW/],
  [
    { optimizer: { type: "Adam", params: { lr: "auto", weight_decay: "auto", eps: -1 } } },
    /optimizer\.params\.eps: found -1, expected a number of at least 0/,
  ],
  [{ scheduler: { type: "OneCycle", params: {} } }, /found "OneCycle", expected WarmupLR, Warm/],
  [{ scheduler: { type: "LRRangeTest" } }, /found "LRRangeTest".*hira sweep compares rates/],
  [
    { scheduler: { type: "WarmupLR", params: { total_num_steps: 5, warmup_num_steps: "auto" } } },
    /scheduler\.params\.total_num_steps: found an unknown key/,
  ],
  [
    {
      scheduler: {
        type: "WarmupCosineLR",
        params: { warmup_num_steps: "auto", total_num_steps: "auto", cos_min_ratio: 2 },
      },
    },
    /cos_min_ratio: found 2, expected a number from 0 to 1/,
  ],
  [
    { scheduler: { type: "WarmupLR", params: { warmup_num_steps: "auto", warmup_type: "cos" } } },
    /warmup_type: found "cos", expected log or linear/,
  ],
  [{ train_batch_size: 30 }, /train_batch_size: found 30, expected a multiple of 16, the rows/],
  [{ data_types: { grad_accum_dtype: "bf16" } }, /grad_accum_dtype: found "bf16", expected "fp32"/],
  [{ steps_per_print: "auto" }, /steps_per_print: found "auto", expected a value/],
  [{ progressive_layer_drop: { enabled: true } }, /layers would be left out at random/],
  [{ sparse_attention: { mode: "fixed" } }, /sparse_attention: found it, expected none: attention/],
  [
    { bf16: { enabled: true, bf16_optimizer_states: true } },
    /bf16_optimizer_states: found true, expected false: trained weights, their/,
  ],
  [{ autotuning: { metric: "flops" } }, /metric: found "flops", expected throughput or latency/],
  [
    { autotuning: { start_profile_step: 4, end_profile_step: 2 } },
    /found 2, expected at least sta/,
  ],
  [{ zero_optimization: { stage: 4 } }, /zero_optimization\.stage: found 4, expected 0, 1, 2 or 3/],
  [{ zero_optimization: true }, /zero_optimization: found a boolean, expected an object/],
  [{ fp16: { enabled: "yes" } }, /fp16\.enabled: found "yes", expected true or false/],
  [{ optimizer: { type: "Adamm" } }, /optimizer\.type: found "Adamm", expected one of Adam, AdamW/],
  [[], /found \[\], expected a JSON object/],
  ['{"zero_optimization": {"stage": 2,}}', /line 1/],
] as const) {
  test(`readDeepSpeedConfig refuses ${typeof config === "string" ? config : JSON.stringify(config)}`, async (t) => {
    await t.throwsAsync(read(config), { name: "UserError", message });
  });
}
