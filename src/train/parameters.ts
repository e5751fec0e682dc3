import { elementCount } from "../core/dtype.js";
import { Tensor } from "../runtime/tensor.js";
import type { Adapter, AdapterParameter } from "../peft/adapter.js";
import type { BaseTensors } from "../peft/init.js";
import { momentsInMemory, type MomentAllocator } from "./optimizer.js";

/** Trainable parameters that the optimizer treats alike, end to end in flat buffers of [length] float32 elements. */
export interface ParameterGroup {
  readonly decays: boolean;
  readonly length: number;
  readonly values: Tensor;
  readonly gradients: Tensor;
  /** AdamW's first and second moment. */
  readonly m: Tensor;
  readonly v: Tensor;
}

/**
 * All state of a run that training changes: parameters, gradients and moments.
 *
 * Each parameter is a view of its group's flat buffers, so that the optimizer, the norm and an all-reduce see a few long
 * vectors. Frozen parameters (R, or a half that --train_ab leaves out) have tensors of their own.
 */
export interface ParameterStore {
  readonly groups: readonly ParameterGroup[];
  readonly parameters: readonly AdapterParameter[];
  /** Values by parameter name, trainable and frozen. */
  readonly values: ReadonlyMap<string, Tensor>;
  readonly gradients: ReadonlyMap<string, Tensor>;
  readonly m: ReadonlyMap<string, Tensor>;
  readonly v: ReadonlyMap<string, Tensor>;
  readonly trainableCount: number;
  /** Sparse LoRA's masks by parameter name, 0 where an element stays zero; empty for all other methods. */
  readonly masks: Map<string, Uint8Array>;
}

/**
 * Allocates the store and fills the values with `start` where it has them, else with each parameter's initializer.
 *
 * @param base the model's tensors in float32, for start values that depend on them (see float32Tensors)
 * @param moments where AdamW's moments lie; by default in memory
 */
export const createParameterStore = (
  { parameters }: Pick<Adapter, "parameters">,
  seed: number,
  start: (parameter: AdapterParameter) => Float32Array | undefined,
  base?: BaseTensors,
  moments: MomentAllocator = momentsInMemory,
): ParameterStore => {
  const values = new Map<string, Tensor>();
  const gradients = new Map<string, Tensor>();
  const m = new Map<string, Tensor>();
  const v = new Map<string, Tensor>();
  const groups: ParameterGroup[] = [];
  for (const decays of [true, false]) {
    const members = parameters.filter((spec) => spec.trainable && spec.decays === decays);
    const length = members.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    if (length === 0) continue;
    const buffer = () => Tensor.zeros("float32", [length]);
    const group = {
      decays,
      length,
      values: buffer(),
      gradients: buffer(),
      m: moments(length),
      v: moments(length),
    };
    groups.push(group);
    let offset = 0;
    for (const { name, shape } of members) {
      values.set(name, group.values.view(offset, shape));
      gradients.set(name, group.gradients.view(offset, shape));
      m.set(name, group.m.view(offset, shape));
      v.set(name, group.v.view(offset, shape));
      offset += elementCount(shape);
    }
  }
  for (const parameter of parameters) {
    const { name, shape, init } = parameter;
    const tensor = values.get(name) ?? Tensor.zeros("float32", shape);
    values.set(name, tensor);
    (tensor.data as Float32Array).set(start(parameter) ?? init(shape, seed, name, base));
  }
  const trainableCount = groups.reduce((sum, { length }) => sum + length, 0);
  return { groups, parameters, values, gradients, m, v, trainableCount, masks: new Map() };
};

/** Sets every gradient to zero, for the next update's first micro-step. */
export const clearGradients = ({ groups }: ParameterStore): void => {
  for (const { gradients } of groups) (gradients.data as Float32Array).fill(0);
};
