/**
 * The keys that a DeepSpeed configuration may have, and what this program makes of them.
 *
 * Source: docs/_pages/config-json.md, runtime/constants.py, runtime/zero/config.py and runtime/precision_config.py of DeepSpeed.
 */

/** Keys without a meaning for one process, or for its results: taken as they are. */
export const passiveKeys = [
  "activation_checkpointing",
  "aio",
  "checkpoint",
  "communication_data_type",
  "data_parallel_group",
  "dataloader_drop_last",
  "disable_allgather",
  "dump_state",
  "gradient_allreduce_op",
  "gradient_predivide_factor",
  "managed_gradient_accumulation",
  "memory_breakdown",
  "prescale_gradients",
  "seq_parallel_communication_data_type",
  "sparse_gradients",
  "steps_per_print",
  "use_data_before_expert_parallelism",
  "wall_clock_breakdown",
  "zero_allow_untested_optimizer",
  "zero_force_ds_cpu_optimizer",
] as const;

/** Blocks about communication and monitoring, which one process has nothing to do with. */
export const idleBlocks = ["comms_config", "comms_logger", "monitor_config"] as const;

/** Blocks that change what is computed or written once their `enabled` is true. */
export const switchedBlocks = [
  "amp",
  "autotuning",
  "comet",
  "compile",
  "csv_monitor",
  "curriculum_learning",
  "data_efficiency",
  "eigenvalue",
  "elasticity",
  "flops_profiler",
  "hybrid_engine",
  "nebula",
  "progressive_layer_drop",
  "tensorboard",
  "torch_autocast",
  "wandb",
  "zenflow",
] as const;

/** Blocks whose mere presence asks for something that is not built. */
export const unbuiltBlocks = [
  "compression_training",
  "data_types",
  "pipeline",
  "quantize_training",
  "sparse_attention",
  "tensor_parallel",
] as const;

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
  ...passiveKeys,
  ...idleBlocks,
  ...switchedBlocks,
  ...unbuiltBlocks,
] as const;

/** Keys of zero_optimization that tune communication: without a meaning for one process. */
export const passiveZeroKeys = [
  "allgather_bucket_size",
  "allgather_partitions",
  "contiguous_gradients",
  "cpu_offload_use_pin_memory",
  "elastic_checkpoint",
  "enable_sanity_checks",
  "gather_16bit_weights_on_model_save",
  "ignore_unused_parameters",
  "leaf_module",
  "legacy_stage1",
  "load_from_fp32_weights",
  "log_trace_cache_warnings",
  "max_live_parameters",
  "max_reuse_distance",
  "memory_efficient_linear",
  "mics_hierarchical_params_gather",
  "model_persistence_threshold",
  "override_module_apply",
  "overlap_comm",
  "param_persistence_threshold",
  "pipeline_loading_checkpoint",
  "prefetch_bucket_size",
  "reduce_bucket_size",
  "reduce_scatter",
  "round_robin_gradients",
  "stage3_allgather_sequential",
  "stage3_gather_16bit_weights_on_model_save",
  "stage3_gather_fp16_weights_on_model_save",
  "stage3_max_live_parameters",
  "stage3_max_reuse_distance",
  "stage3_model_persistence_threshold",
  "stage3_module_granularity_threshold",
  "stage3_param_persistence_threshold",
  "stage3_prefetch_bucket_size",
  "stage3_use_all_reduce_for_fetch_params",
  "sub_group_size",
  "use_multi_rank_bucket_allreduce",
  "zero_quantized_nontrainable_weights",
] as const;

/** The keys of `zero_optimization`. */
export const zeroKeys = [
  "stage",
  "offload_optimizer",
  "offload_param",
  "cpu_offload",
  "cpu_offload_param",
  "zero_quantized_weights",
  "zero_quantized_gradients",
  "zero_hpz_partition_size",
  "zeropp_loco_param",
  "mics_shard_size",
  "zenflow",
  ...passiveZeroKeys,
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
/** The keys of `scheduler.params`. */
export const schedulerParams = [
  "last_batch_iteration",
  "total_num_steps",
  "warmup_max_lr",
  "warmup_min_lr",
  "warmup_num_steps",
  "warmup_type",
] as const;
