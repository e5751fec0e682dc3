import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import {
  readDeepSpeedConfig,
  type DeepSpeedConfig,
  type DeepSpeedSettings,
} from "../../src/distributed/ds-config.js";
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
  precisions: ["fp32"],
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

// The eleven files of the original, and what is still to come of what each asks for.
const files: Readonly<Record<string, readonly [content: object, later: string | undefined]>> = {
  ds_config_z0: [{ ...batch, zero_optimization: { stage: 0 } }, undefined],
  ds_config_z1: [{ ...batch, zero_optimization: { stage: 1 } }, undefined],
  ds_config_z2: [{ ...batch, zero_optimization: { stage: 2 } }, undefined],
  ds_config_z3: [
    {
      ...batch,
      zero_optimization: { stage: 3, stage3_gather_16bit_weights_on_model_save: true },
    },
    "zero_optimization.stage 3",
  ],
  ds_config_fp16_z0: [{ ...batch, zero_optimization: { stage: 0 }, ...fp16 }, "fp16.enabled"],
  ds_config_fp16_z1: [{ ...batch, zero_optimization: { stage: 1 }, ...fp16 }, "fp16.enabled"],
  ds_config_fp16_z2: [{ ...batch, zero_optimization: { stage: 2 }, ...fp16 }, "fp16.enabled"],
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
    "zero_optimization.stage 3, fp16.enabled",
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
    "zero_optimization.stage 3, zero_optimization.zero_quantized_weights, " +
      "zero_optimization.zero_quantized_gradients, zero_optimization.zero_hpz_partition_size, fp16.enabled",
  ],
  ds_config_tune: [{ ...batch, ...tune }, "autotuning.enabled"],
  ds_config_fp16_tune: [{ ...batch, ...fp16, ...tune }, "fp16.enabled, autotuning.enabled"],
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

for (const [name, [content, later]] of Object.entries(files)) {
  const path = `ds_configs/${name}.json`;
  test(`${path} has the original's content and ${later === undefined ? "runs" : "says what comes later"}`, async (t) => {
    t.deepEqual(JSON.parse(await readFile(path, "utf8")), content);
    if (later === undefined) {
      const config = await readDeepSpeedConfig(path, settings);
      t.like(config, { path, precision: "fp32", totalSteps: undefined });
      t.is(config.resolved["train_micro_batch_size_per_gpu"], 16);
      t.is(config.zeroStage, Number(name.slice(-1)) as 0 | 1 | 2);
    } else
      await t.throwsAsync(readDeepSpeedConfig(path, settings), {
        name: "UserError",
        message: `Cannot use --ds_config ${path}: found ${later}, whose work comes in a later version, expected ZeRO stages 0 to 2 in fp32`,
      });
  });
}

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
      optimizer: { type: "AdamW", params: { lr: 1e-4, betas: [0.9, 0.95] } },
    }),
  );
  const lines = error.message.split("\n").slice(1);
  t.deepEqual(lines, [
    '  train_micro_batch_size_per_gpu: found 8, expected 16 (--batch) or "auto"',
    '  gradient_accumulation_steps: found 1, expected 2 (--grad_acc) or "auto"',
    '  train_batch_size: found 64, expected 32 (--batch times --grad_acc times the processes) or "auto"',
    '  gradient_clipping: found 0.5, expected 1 (--max_grad_norm) or "auto"',
    '  optimizer.params.lr: found 0.0001, expected 0.001 (--lr) or "auto"',
    '  optimizer.params.betas: found [0.9,0.95], expected [0.9,0.999] (fixed) or "auto"',
    '  optimizer.params.weight_decay: found nothing, for which DeepSpeed takes 0, expected 0.01 (--weight_decay) or "auto"',
  ]);
  t.like(error, { hint: 'With "auto" in the file, the flags decide' });
});

test("readDeepSpeedConfig warns of top-level keys that DeepSpeed passes over, and of those with nothing to do here (9.24)", async (t) => {
  const { warnings } = await read({
    comms_config: { verbose: true },
    monitor_config: {},
    my_note: "for Slurm",
    train_micro_batch_size: 8,
  });
  t.deepEqual(
    warnings.map((line) => line.replace(/^.*?: /, "")),
    [
      'found my_note, train_micro_batch_size (Did you mean "train_batch_size"?), which DeepSpeed does not know: without effect',
      "comms_config, monitor_config have nothing to do here",
    ],
  );
  t.deepEqual((await read({ steps_per_print: 10 })).warnings, []);
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
    { zero_optimization: { stage: 2, offload_optimizer: { device: "cpu" } } },
    /offload_optimizer to "cpu"/,
  ],
  [
    { zero_optimization: { stage: 2, cpu_offload: true } },
    /zero_optimization\.cpu_offload, whose work/,
  ],
  [{ optimizer: { type: "Lamb", params: {} } }, /found optimizer\.type Lamb, whose work comes/],
  [
    {
      optimizer: { type: "adam", params: { lr: "auto", weight_decay: "auto", adam_w_mode: false } },
    },
    /found optimizer\.params\.adam_w_mode false, whose work comes/,
  ],
  [
    { scheduler: { type: "WarmupLR", params: {} } },
    /found scheduler\.type WarmupLR, whose work comes/,
  ],
  [
    {
      scheduler: {
        type: "WarmupDecayLR",
        params: { warmup_max_lr: "auto", warmup_num_steps: "auto", total_num_steps: "auto" },
      },
    },
    /found scheduler\.params\.warmup_type "log", whose work comes/,
  ],
  [{ tensorboard: { enabled: true } }, /found tensorboard\.enabled, whose work comes/],
  [{ sparse_attention: { mode: "fixed" } }, /found sparse_attention, whose work comes/],
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
