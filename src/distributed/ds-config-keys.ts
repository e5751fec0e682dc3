/**
 * The keys that a DeepSpeed configuration may have, and what this program makes of them.
 *
 * Source: docs/_pages/config-json.md, runtime/constants.py, runtime/zero/config.py and runtime/precision_config.py of DeepSpeed.
 */

/** Keys that set speed, memory, messages or logs of DeepSpeed's own engine: taken, and named in one line. */
export const idleKeys = [
  "activation_checkpointing",
  "aio",
  "checkpoint",
  "comet",
  "comms_config",
  "comms_logger",
  "communication_data_type",
  "compile",
  "csv_monitor",
  "data_parallel_group",
  "dataloader_drop_last",
  "disable_allgather",
  "dump_state",
  "flops_profiler",
  "gradient_allreduce_op",
  "gradient_predivide_factor",
  "hybrid_engine",
  "managed_gradient_accumulation",
  "memory_breakdown",
  "monitor_config",
  "nebula",
  "pipeline",
  "prescale_gradients",
  "seq_parallel_communication_data_type",
  "sparse_gradients",
  "steps_per_print",
  "tensor_parallel",
  "tensorboard",
  "use_data_before_expert_parallelism",
  "wall_clock_breakdown",
  "wandb",
  "zero_allow_untested_optimizer",
  "zero_force_ds_cpu_optimizer",
] as const;

/** Blocks that change what is computed once their `enabled` is true, and why they cannot be followed. */
export const refusedSwitches = {
  amp: "NVIDIA's apex is a part of PyTorch's world; the blocks fp16 and bf16 say the precision here",
  curriculum_learning: "rows would be cut to lengths that grow with the updates",
  data_efficiency: "rows and tokens would be chosen anew while training",
  eigenvalue: "it steers a quantized training, which there is none of",
  elasticity: "the batch would follow the number of processes; here it stays what the flags say",
  progressive_layer_drop: "layers would be left out at random",
  torch_autocast: "types would be chosen op by op; the blocks fp16 and bf16 say the precision here",
  zenflow: "updates would come later than their gradients",
} as const;

/** Blocks whose mere presence changes what is computed, and why they cannot be followed. */
export const refusedBlocks = {
  compression_training: "weights would be quantized or pruned while training",
  quantize_training: "weights would be quantized while training",
  sparse_attention: "attention would see a part of the tokens",
} as const;

/** The keys of the configuration itself. */
export const topLevelKeys = [
  "train_batch_size",
  "train_micro_batch_size_per_gpu",
  "gradient_accumulation_steps",
  "gradient_clipping",
  "optimizer",
  "scheduler",
  "zero_optimization",
  "fp16",
  "bf16",
  "autotuning",
  "data_types",
  ...idleKeys,
  ...(Object.keys(refusedSwitches) as (keyof typeof refusedSwitches)[]),
  ...(Object.keys(refusedBlocks) as (keyof typeof refusedBlocks)[]),
] as const;

/** The keys of `fp16`. */
export const fp16Keys = [
  "enabled",
  "auto_cast",
  "consecutive_hysteresis",
  "fp16_master_weights_and_grads",
  "hysteresis",
  "initial_scale_power",
  "loss_scale",
  "loss_scale_window",
  "min_loss_scale",
] as const;

/** The keys of `bf16`. */
export const bf16Keys = [
  "enabled",
  "bf16_master_weights_and_grads",
  "bf16_optimizer_states",
  "check_grad_overflow",
  "immediate_grad_update",
] as const;

/** The values of `optimizer.type` that DeepSpeed knows, whether or not this program has them. */
export const optimizerTypes = [
  "Adam",
  "AdamW",
  "Lamb",
  "Lion",
  "Muon",
  "OneBitAdam",
  "OneBitLamb",
  "SGD",
  "ZeroOneAdam",
] as const;
/** The keys of `optimizer.params`. */
export const optimizerParams = [
  "lr",
  "betas",
  "eps",
  "weight_decay",
  "adam_w_mode",
  "bias_correction",
  "torch_adam",
] as const;

/** The values of `scheduler.type` that DeepSpeed knows, whether or not this program has them. */
export const schedulerTypes = [
  "LRRangeTest",
  "OneCycle",
  "WarmupCosineLR",
  "WarmupDecayLR",
  "WarmupLR",
] as const;
/** The keys of `scheduler.params`, by the types that there are. */
export const schedulerParams = {
  WarmupLR: [
    "last_batch_iteration",
    "warmup_max_lr",
    "warmup_min_lr",
    "warmup_num_steps",
    "warmup_type",
  ],
  WarmupDecayLR: [
    "last_batch_iteration",
    "total_num_steps",
    "warmup_max_lr",
    "warmup_min_lr",
    "warmup_num_steps",
    "warmup_type",
  ],
  WarmupCosineLR: [
    "cos_min_ratio",
    "last_batch_iteration",
    "total_num_steps",
    "warmup_min_ratio",
    "warmup_num_steps",
    "warmup_type",
  ],
} as const;
