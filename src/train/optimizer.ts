import { elementCount } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import type { AskedZeroSettings } from "../distributed/zero-settings.js";
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
 * The optimizer and the folder of its files, as a --ds_config's offload_optimizer has them.
 *
 * @throws {UserError} on a device with memory of its own, whose update would have to be computed in the host's
 */
export const offloadedOptimizer = (
  {
    optimizer,
    zero,
  }: { readonly optimizer: Optimizer; readonly zero?: AskedZeroSettings | undefined },
  outputFolder: string,
  device: Pick<Device, "name" | "place">,
): { readonly optimizer: Optimizer; readonly folder: string } => {
  for (const [key, place] of [
    ["offload_optimizer", zero?.offloadOptimizer],
    ["offload_param", zero?.offloadParam],
  ] as const)
    if (place && place.device !== "none" && device.place !== "host")
      throw new UserError(
        `Cannot follow zero_optimization.${key} of --ds_config on --device=${device.name}: found "${place.device}", expected "none": weights, gradients and moments stay in the device's memory`,
        "Leave the block out, or use --device=cpu",
      );
  const place = zero?.offloadOptimizer;
  return place?.device === "nvme"
    ? { optimizer: "paged_adamw_32bit", folder: place.path }
    : { optimizer, folder: outputFolder };
};

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
