import { quoteJson, type JsonObject } from "../core/json-file.js";
import type { Reading } from "./ds-config-reading.js";
import {
  autoSizes,
  steeringZeroKeys,
  type AskedZeroSettings,
  type AutoSize,
  type OffloadPlace,
} from "./zero-settings.js";

const path = "zero_optimization";

/** Switches of DeepSpeed's own engine. */
const idleSwitches = [
  "cpu_offload_use_pin_memory",
  "elastic_checkpoint",
  "enable_sanity_checks",
  "ignore_unused_parameters",
  "legacy_stage1",
  "load_from_fp32_weights",
  "log_trace_cache_warnings",
  "memory_efficient_linear",
  "override_module_apply",
  "pipeline_loading_checkpoint",
  "save_muon_momentum_buffer_in_memory",
  "stage3_allgather_sequential",
  "stage3_use_all_reduce_for_fetch_params",
  "use_multi_rank_bucket_allreduce",
] as const;

/** Sizes of DeepSpeed's own engine. */
const idleSizes = [
  "stage3_module_granularity_threshold",
  "stage3_partition_stream_chunk_size",
] as const;

/** ZeRO++ and MiCS: what each would do. */
const plusPlus: Readonly<Record<string, string>> = {
  zero_quantized_weights: "would gather the weights in 8 bits (ZeRO++)",
  zero_quantized_nontrainable_weights: "would hold frozen weights in 8 bits (ZeRO++)",
  zero_quantized_gradients: "would send the gradients in 4 and 8 bits (ZeRO++)",
  zero_hpz_partition_size: "would keep a second copy of the weights' shares within a host (ZeRO++)",
  zeropp_loco_param: "would carry the rounding of quantized gradients over (LoCo)",
  mics_shard_size: "would share weights out among some of the processes alone (MiCS)",
  mics_hierarchical_params_gather: "would gather within a host first (MiCS)",
};

/** Names that a key of stage 3 has beside the one in the docs. */
const aliases: Readonly<Record<string, string>> = {
  stage3_prefetch_bucket_size: "prefetch_bucket_size",
  stage3_param_persistence_threshold: "param_persistence_threshold",
  stage3_model_persistence_threshold: "model_persistence_threshold",
  stage3_max_live_parameters: "max_live_parameters",
  stage3_max_reuse_distance: "max_reuse_distance",
  stage3_gather_16bit_weights_on_model_save: "gather_16bit_weights_on_model_save",
  stage3_gather_fp16_weights_on_model_save: "gather_16bit_weights_on_model_save",
  stage3_module_granularity_threshold: "module_granularity_threshold",
  stage3_use_all_reduce_for_fetch_params: "use_all_reduce_for_fetch_params",
  stage3_allgather_sequential: "allgather_sequential",
  stage3_partition_stream_chunk_size: "partition_stream_chunk_size",
};

/** The keys of the block. */
const zeroKeys: readonly string[] = [
  ...["stage", "overlap_comm", "contiguous_gradients", "reduce_scatter", "reduce_bucket_size"],
  ...["allgather_partitions", "allgather_bucket_size", "round_robin_gradients", "sub_group_size"],
  ...["offload_optimizer", "offload_param", "cpu_offload", "cpu_offload_param"],
  ...["zenflow", "leaf_module"],
  ...[...idleSwitches, ...idleSizes, ...Object.keys(plusPlus)],
  ...Object.entries(aliases).flat(),
];

const offloadKeys = {
  offload_optimizer: [
    ...["device", "nvme_path", "buffer_count", "pin_memory", "pipeline_read", "pipeline_write"],
    ...["fast_init", "ratio", "super_offload", "convert_grad_on_cpu", "cpuadam_cores_perc"],
  ],
  offload_param: [
    ...["device", "nvme_path", "buffer_count", "buffer_size", "max_in_cpu", "pin_memory"],
  ],
} as const;

/** What the line says of a part that is offloaded. */
const offloadLines = {
  offload_optimizer: {
    cpu: "the moments are in the host's memory, where the update is computed",
    nvme: "the moments are in a mapped file there, as with --optim=paged_adamw_32bit",
  },
  offload_param: {
    cpu: "frozen weights are pages of the model's files in the host's memory",
    nvme: "frozen weights are read from the model's files as they are needed, and not copied there",
  },
} as const;

const readOffload = (
  zero: Record<string, unknown>,
  part: keyof typeof offloadKeys,
  older: "cpu_offload" | "cpu_offload_param",
  reading: Reading,
): OffloadPlace => {
  const place = `${path}.${part}`;
  const isOlder = reading.boolean(zero, older, `${path}.${older}`) === true;
  if (zero[part] === undefined || zero[part] === null) {
    if (isOlder) reading.lines.push(`${path}.${older}: ${offloadLines[part].cpu}`);
    return { device: isOlder ? "cpu" : "none" };
  }
  const block = reading.block(zero, part, { known: offloadKeys[part], path: place });
  if (block === undefined) return { device: "none" };
  const devices = ["none", "cpu", "nvme"] as const;
  const word = reading.word({ device: "none", ...block }, "device", `${place}.device`, devices);
  const device = devices.find((name) => name === word) ?? "none";
  for (const key of Object.keys(block))
    if (key !== "device" && key !== "nvme_path")
      reading.noteIdle(`${place}.${key}`, device === "none" ? undefined : block[key]);
  if (device === "none") return { device };
  reading.lines.push(`${place} to ${device}: ${offloadLines[part][device]}`);
  if (device === "cpu") return { device };
  const folder = block["nvme_path"];
  if (typeof folder === "string" && folder !== "") return { device, path: folder };
  reading.faults.push(`${place}.nvme_path: found ${quoteJson(folder)}, expected a folder`);
  return { device: "none" };
};

/** The block `zero_optimization`, with each "auto" replaced in it where the hidden size is known. */
export const readZero = (
  file: JsonObject,
  { hiddenSize }: { readonly hiddenSize?: number | undefined },
  reading: Reading,
): AskedZeroSettings => {
  const block = reading.block(file, path, { known: zeroKeys, path });
  const zero: Record<string, unknown> = block ?? {};
  const found = zero["stage"] ?? 0;
  const stage = ([0, 1, 2, 3] as const).find((known) => known === found) ?? 0;
  if (stage !== found) {
    reading.faults.push(`${path}.stage: found ${quoteJson(found)}, expected 0, 1, 2 or 3`);
    reading.hintAtAuto(found);
    if (Array.isArray(found))
      reading.hints.add("Several stages are tried by hira launch --autotuning");
  }
  /** The key by which the file has a value: its own, or another name of it. */
  const keyOf = (name: string): string => {
    const given = [name, ...Object.keys(aliases).filter((key) => aliases[key] === name)].filter(
      (key) => zero[key] !== undefined,
    );
    const [key = name, ...others] = given;
    if (others.some((other) => quoteJson(zero[other]) !== quoteJson(zero[key])))
      reading.faults.push(
        `${path}: found ${given.map((each) => `${each} ${quoteJson(zero[each])}`).join(" and ")}, expected one value: these are names of one key`,
      );
    if (!steeringZeroKeys.has(name)) reading.noteIdle(`${path}.${key}`, zero[key]);
    return key;
  };
  const flag = (name: string, absent: boolean): boolean => {
    const key = keyOf(name);
    if (zero[key] === null) return absent;
    return reading.boolean(zero, key, `${path}.${key}`) ?? absent;
  };
  const size = (name: string, absent: number): number =>
    reading.number(zero, keyOf(name), { path, least: 0, absent });
  const autoSize = (name: string, absent: number): AutoSize => {
    const key = keyOf(name);
    if (zero[key] !== "auto") return reading.number(zero, key, { path, least: 0, absent });
    const known = hiddenSize === undefined ? undefined : Object.entries(autoSizes(hiddenSize));
    const value = known?.find(([full]) => full === key || aliases[full] === name || full === name);
    if (value) [, zero[key]] = value;
    return value?.[1] ?? "auto";
  };
  for (const [key, effect] of Object.entries(plusPlus)) {
    const value = zero[key];
    const isNumber = key === "zero_hpz_partition_size" || key === "mics_shard_size";
    if (isNumber) {
      const least = key === "mics_shard_size" ? -1 : 0;
      const asked = reading.number(zero, key, { path, least, absent: least === 0 ? 1 : -1 });
      if (asked <= 1) continue;
    } else if (key !== "zeropp_loco_param") {
      if (reading.boolean(zero, key, `${path}.${key}`) !== true) continue;
    } else if (value === undefined || value === null) continue;
    reading.lines.push(`${path}.${key} ${effect}: not done here, the numbers are those without`);
  }
  if (zero["zenflow"] !== undefined && zero["zenflow"] !== null)
    reading.faults.push(
      `${path}.zenflow: found a block, expected none: updates would come later than their gradients`,
    );
  for (const key of idleSwitches) {
    reading.boolean(zero, key, `${path}.${key}`);
    reading.noteIdle(`${path}.${key}`, zero[key]);
  }
  for (const key of idleSizes) {
    reading.number(zero, key, { path, least: 0, absent: 0 });
    reading.noteIdle(`${path}.${key}`, zero[key]);
  }
  reading.noteIdle(`${path}.leaf_module`, zero["leaf_module"]);
  return {
    stage,
    overlapComm: flag("overlap_comm", stage === 3),
    contiguousGradients: flag("contiguous_gradients", true),
    reduceScatter: flag("reduce_scatter", true),
    reduceBucketSize: autoSize("reduce_bucket_size", 5e8),
    allgatherPartitions: flag("allgather_partitions", true),
    allgatherBucketSize: size("allgather_bucket_size", 5e8),
    roundRobinGradients: flag("round_robin_gradients", false),
    subGroupSize: size("sub_group_size", 1e9),
    prefetchBucketSize: autoSize("prefetch_bucket_size", 5e7),
    paramPersistenceThreshold: autoSize("param_persistence_threshold", 1e5),
    modelPersistenceThreshold: size("model_persistence_threshold", Number.MAX_SAFE_INTEGER),
    maxLiveParameters: size("max_live_parameters", 1e9),
    maxReuseDistance: size("max_reuse_distance", 1e9),
    gather16bitWeightsOnModelSave: flag("gather_16bit_weights_on_model_save", false),
    offloadOptimizer: readOffload(zero, "offload_optimizer", "cpu_offload", reading),
    offloadParam: readOffload(zero, "offload_param", "cpu_offload_param", reading),
  };
};
