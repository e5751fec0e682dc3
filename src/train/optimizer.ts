import { MappedFile } from "../runtime/mapped-file.js";
import { Tensor } from "../runtime/tensor.js";

/**
 * The values of --optim, by transformers' names: AdamW whose moments lie in memory, or in a mapped file that the system can page
 * out. Their numbers are the same.
 *
 * Source: TrainingArguments.optim of transformers; Dettmers et al., "QLoRA", section 3, paged optimizers.
 */
export const optimizers = ["adamw_torch", "paged_adamw_32bit"] as const;
/** A value of --optim. */
export type Optimizer = (typeof optimizers)[number];

/** Memory for `length` moments, zeros. */
export type MomentAllocator = (length: number) => Tensor;

/** Moments that stay in memory. */
export const momentsInMemory: MomentAllocator = (length) => Tensor.zeros("float32", [length]);

/**
 * Where an optimizer's moments lie: a paged one's in a file of `folder` that goes with the process.
 *
 * @returns a function that throws a UserError if the folder cannot hold that file
 */
export const momentAllocator = (optimizer: Optimizer, folder: string): MomentAllocator =>
  optimizer === "paged_adamw_32bit"
    ? (length) => Tensor.fromMapped(MappedFile.scratch(folder, 4 * length), 0, "float32", [length])
    : momentsInMemory;
