/**
 * The values of --optim, by transformers' names: AdamW whose moments lie in memory, or in a mapped file that the system can page
 * out. Their numbers are the same.
 *
 * Source: TrainingArguments.optim of transformers; Dettmers et al., "QLoRA", section 3, paged optimizers.
 */
export const optimizers = ["adamw_torch", "paged_adamw_32bit"] as const;
export type Optimizer = (typeof optimizers)[number];
