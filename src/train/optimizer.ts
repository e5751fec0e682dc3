import { elementCount } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import type { Device } from "../runtime/device.js";
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

/** Memory for float32 moments of this shape, zeros. */
export type MomentAllocator = (shape: readonly number[]) => Tensor;

/** Moments that stay in a device's memory. */
export const momentsOn =
  (device: Device): MomentAllocator =>
  (shape) =>
    device.zeros("float32", shape);

/**
 * Where an optimizer's moments lie: a paged one's in a file of `folder` that goes with the process.
 *
 * @returns a function that throws a UserError if the folder cannot hold that file
 * @throws {UserError} on a paged optimizer on a device with memory of its own: a mapped file is the host's
 */
export const momentAllocator = (
  optimizer: Optimizer,
  folder: string,
  device: Device,
): MomentAllocator => {
  if (optimizer === "adamw_torch") return momentsOn(device);
  if (device.place !== "host")
    throw new UserError(
      `Cannot use --optim=${optimizer} on --device=${device.name}: found moments in the device's memory, expected a device that computes in the host's`,
      "Use --optim=adamw_torch, or --device=cpu",
    );
  return (shape) => {
    const bytes = 4 * elementCount(shape);
    return Tensor.fromMapped(MappedFile.scratch(folder, bytes), 0, "float32", shape);
  };
};
