/** The block `scheduler` of a --ds_config, as far as the run's flags do not say it: peak, warm-up and length are theirs. */
export interface SchedulerSettings {
  readonly type: "WarmupLR" | "WarmupDecayLR" | "WarmupCosineLR";
  readonly warmupType: "log" | "linear";
  /** Where the rate begins: warmup_min_lr; for WarmupCosineLR a share of the peak, warmup_min_ratio. */
  readonly start: number;
  /** Where WarmupCosineLR ends, as a share of the peak: cos_min_ratio. */
  readonly end: number;
}
