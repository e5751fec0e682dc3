/** Where a part of the state is kept. */
export type OffloadPlace =
  | { readonly device: "none" | "cpu" }
  /** In files below this folder. */
  | { readonly device: "nvme"; readonly path: string };

/** A number of elements; "auto" until the model's hidden size is known. */
export type AutoSize = number | "auto";

/** The block `zero_optimization` of a --ds_config, by DeepSpeed's names and with its defaults. Sizes count elements. */
export interface ZeroSettings<Size extends AutoSize = number> {
  /** What is shared out: 1 moments, 2 gradients too, 3 weights too. */
  readonly stage: 0 | 1 | 2 | 3;
  readonly overlapComm: boolean;
  readonly contiguousGradients: boolean;
  readonly reduceScatter: boolean;
  readonly reduceBucketSize: Size;
  readonly allgatherPartitions: boolean;
  readonly allgatherBucketSize: number;
  readonly roundRobinGradients: boolean;
  readonly subGroupSize: number;
  /** Stage 3: elements that are fetched before they are used. */
  readonly prefetchBucketSize: Size;
  /** Stage 3: tensors of fewer elements are not shared out. */
  readonly paramPersistenceThreshold: Size;
  /** Stage 3: elements of all tensors that are not shared out, at most. */
  readonly modelPersistenceThreshold: number;
  /** Stage 3: elements of shared-out weights that are here at a time, at most. */
  readonly maxLiveParameters: number;
  /** Stage 3: a weight that is read again within so many elements stays. */
  readonly maxReuseDistance: number;
  readonly gather16bitWeightsOnModelSave: boolean;
  readonly offloadOptimizer: OffloadPlace;
  readonly offloadParam: OffloadPlace;
}

/** As the file has it. */
export type AskedZeroSettings = ZeroSettings<AutoSize>;

/** The keys of the block that something here follows; the others are taken, and named in one line. */
export const steeringZeroKeys: ReadonlySet<string> = new Set([
  "stage",
  "overlap_comm",
  "param_persistence_threshold",
  "gather_16bit_weights_on_model_save",
  "offload_optimizer",
  "offload_param",
]);

/**
 * The sizes that "auto" stands for, by their keys.
 *
 * Source: HfTrainerDeepSpeedConfig.trainer_config_finalize of transformers.
 */
export const autoSizes = (hiddenSize: number) => ({
  reduce_bucket_size: hiddenSize * hiddenSize,
  stage3_prefetch_bucket_size: Math.floor(0.9 * hiddenSize * hiddenSize),
  stage3_param_persistence_threshold: 10 * hiddenSize,
});

/** The settings of a model with this hidden size. */
export const zeroSettingsOf = (asked: AskedZeroSettings, hiddenSize: number): ZeroSettings => {
  const auto = autoSizes(hiddenSize);
  const size = (value: AutoSize, known: number): number => (value === "auto" ? known : value);
  return {
    ...asked,
    reduceBucketSize: size(asked.reduceBucketSize, auto.reduce_bucket_size),
    prefetchBucketSize: size(asked.prefetchBucketSize, auto.stage3_prefetch_bucket_size),
    paramPersistenceThreshold: size(
      asked.paramPersistenceThreshold,
      auto.stage3_param_persistence_threshold,
    ),
  };
};
