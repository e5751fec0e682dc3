import type { Device } from "../../runtime/device.js";
import { Tensor } from "../../runtime/tensor.js";
import { widened, type FrozenWeights } from "./frozen-weights.js";

type Held = Pick<FrozenWeights, "tensor" | "typeOf">;

/** By device and by the weights as they are stored. */
const decoded = new WeakMap<Device, WeakMap<Held, Held>>();

/**
 * The weights as a device's graphs read them: as they are stored, or in float32 on a device that decodes them; each is decoded
 * once, for all sessions over these weights, and of what is decoded nothing stays in host memory.
 */
export const weightsOn = <Weights extends Held>(device: Device, weights: Weights): Held => {
  if (!device.decodesWeights) return weights;
  const known = decoded.get(device) ?? new WeakMap<Held, Held>();
  decoded.set(device, known);
  const tensors = new Map<string, Tensor>();
  const held = known.get(weights) ?? {
    typeOf: (name: string) => ({ dtype: "float32" as const, shape: weights.typeOf(name).shape }),
    tensor(name: string) {
      const { dtype, codec } = weights.typeOf(name);
      if (dtype === "float32" && !codec) return weights.tensor(name);
      const there = tensors.get(name);
      if (there) return there;
      const stored = weights.tensor(name);
      const wide = Tensor.fromArray("float32", stored.shape, widened(stored));
      const tensor = device.upload(wide);
      tensors.set(name, tensor);
      return tensor;
    },
  };
  known.set(weights, held);
  return held;
};
