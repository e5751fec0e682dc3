import type { Device } from "../device.js";
import { Tensor } from "../tensor.js";

/** The memory of devices that compute in the host's: tensors are arrays, and nothing is copied. */
export const hostMemoryOf: Pick<
  Device,
  "place" | "canSlice" | "zeros" | "upload" | "read" | "write"
> = {
  place: "host",
  canSlice: true,
  zeros: (dtype, shape) => Tensor.zeros(dtype, shape),
  upload: (tensor) => tensor,
  read: (tensor) => tensor.data,
  write(tensor, data) {
    tensor.copyFrom(Tensor.fromArray(tensor.dtype, tensor.shape, data));
  },
};
