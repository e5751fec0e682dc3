import type { Tensor } from "../runtime/tensor.js";

/**
 * Trainable parameters that the optimizer treats alike: end to end in flat buffers of [length] float32 elements, or, on a device
 * whose tensors cannot be parts of others, one parameter in buffers of its shape.
 */
export interface ParameterGroup {
  readonly decays: boolean;
  /** Elements of each buffer. On a device, a flat buffer has zeros between its parameters. */
  readonly length: number;
  readonly values: Tensor;
  readonly gradients: Tensor;
  /** AdamW's first and second moment. */
  readonly m: Tensor;
  readonly v: Tensor;
}
