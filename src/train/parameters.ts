import { elementCount } from "../core/dtype.js";
import type { Adapter, AdapterParameter } from "../peft/adapter.js";
import type { BaseTensors } from "../peft/init.js";
import type { Device } from "../runtime/device.js";
import { cpuDevice } from "../runtime/devices/cpu.js";
import { Tensor } from "../runtime/tensor.js";
import { momentsOn, type MomentAllocator } from "./optimizer.js";
import type { ParameterGroup } from "./parameter-group.js";
import type { Shards } from "./shards.js";

/**
 * All state of a run that training changes: parameters, gradients and moments, in the memory of the device that computes.
 *
 * Where tensors can be parts of others, each parameter is a view of its group's flat buffers, so that the optimizer, the norm
 * and an all-reduce see a few long vectors. Frozen parameters (R, or a half that --train_ab leaves out) have tensors of their own.
 */
export interface ParameterStore {
  /** Where all of it is; `device.read` and `device.write` reach it from here. */
  readonly device: Device;
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
  /** What the next micro-step adds its gradients to; see gradientSums. */
  readonly accumulation: Accumulation;
  /** Set where processes share it out: then groups are this process's shares, and maps have what it has whole. */
  readonly shards?: Shards | undefined;
}

/** What a session reads and adds to. Without `accumulation` it adds to the gradients as they are. */
export type TrainedTensors = Pick<ParameterStore, "values" | "gradients"> &
  Partial<Pick<ParameterStore, "accumulation" | "shards">>;

/** Sums of gradients between two updates. */
interface Accumulation {
  /** Of every gradient's shape, on devices whose memory this process cannot clear in place; they are never written. */
  readonly zeros: ReadonlyMap<string, Tensor> | undefined;
  /** Whether the next micro-step begins from `zeros`, whatever the gradients hold. */
  startsFromZeros: boolean;
}

/** Where a store is made, and from what. */
export interface StoreOptions {
  /** The model's tensors in float32, for start values that depend on them (see float32Tensors). */
  readonly base?: BaseTensors | undefined;
  /** Where AdamW's moments lie; by default in the device's memory. */
  readonly moments?: MomentAllocator | undefined;
  /** Default: the CPU. */
  readonly device?: Device | undefined;
}

/** Elements to which a parameter's place in a flat buffer is rounded up on a device: 256 bytes, as its own allocations are. */
const ALIGNMENT = 64;

/** Trainable parameters that share buffers, and where each begins. */
interface GroupPlan {
  readonly decays: boolean;
  readonly shape: readonly number[];
  readonly members: readonly { readonly spec: AdapterParameter; readonly offset: number }[];
}

const planGroups = (
  parameters: readonly AdapterParameter[],
  { canSlice, place }: Pick<Device, "canSlice" | "place">,
): readonly GroupPlan[] =>
  [true, false].flatMap((decays) => {
    const specs = parameters.filter((spec) => spec.trainable && spec.decays === decays);
    if (!canSlice)
      return specs.map((spec) => ({
        decays,
        shape: spec.shape,
        members: [{ spec, offset: 0 }],
      }));
    const unit = place === "host" ? 1 : ALIGNMENT;
    let length = 0;
    const members = specs.map((spec) => {
      const offset = length;
      length += Math.ceil(elementCount(spec.shape) / unit) * unit;
      return { spec, offset };
    });
    return length === 0 ? [] : [{ decays, shape: [length], members }];
  });

/** Allocates the store and fills the values with `start` where it has them, else with each parameter's initializer. */
export const createParameterStore = (
  { parameters }: Pick<Adapter, "parameters">,
  seed: number,
  start: (parameter: AdapterParameter) => Float32Array | undefined,
  { base, device = cpuDevice, moments = momentsOn(device) }: StoreOptions = {},
): ParameterStore => {
  const values = new Map<string, Tensor>();
  const gradients = new Map<string, Tensor>();
  const m = new Map<string, Tensor>();
  const v = new Map<string, Tensor>();
  const groups = planGroups(parameters, device).map(({ decays, shape, members }) => {
    const buffer = (): Tensor => device.zeros("float32", shape);
    const group = {
      decays,
      length: elementCount(shape),
      values: buffer(),
      gradients: buffer(),
      m: moments(shape),
      v: moments(shape),
    };
    for (const { spec, offset } of members) {
      const part = (whole: Tensor): Tensor =>
        device.canSlice ? whole.view(offset, spec.shape) : whole;
      values.set(spec.name, part(group.values));
      gradients.set(spec.name, part(group.gradients));
      m.set(spec.name, part(group.m));
      v.set(spec.name, part(group.v));
    }
    return group;
  });
  for (const parameter of parameters) {
    const { name, shape, init } = parameter;
    const tensor = values.get(name) ?? device.zeros("float32", shape);
    values.set(name, tensor);
    device.write(tensor, start(parameter) ?? init(shape, seed, name, base));
  }
  return {
    device,
    groups,
    parameters,
    ...{ values, gradients, m, v },
    trainableCount: parameters.reduce(
      (sum, { trainable, shape }) => sum + (trainable ? elementCount(shape) : 0),
      0,
    ),
    masks: new Map(),
    accumulation: { zeros: zerosLike(gradients, device), startsFromZeros: false },
  };
};

/** A store of an adapter as it was trained: `values`, which are in host memory, by parameter name. */
export const storeOf = (
  {
    adapter,
    values,
  }: {
    readonly adapter: Pick<Adapter, "parameters">;
    readonly values: ReadonlyMap<string, Tensor>;
  },
  device?: Device,
): ParameterStore =>
  createParameterStore(
    adapter,
    0,
    ({ name }) => values.get(name)?.data as Float32Array | undefined,
    { device },
  );

/** Zeros of each tensor's shape, all of them one memory's beginning; undefined in host memory, which is cleared in place. */
const zerosLike = (
  tensors: ReadonlyMap<string, Tensor>,
  device: Device,
): ReadonlyMap<string, Tensor> | undefined => {
  if (device.place === "host") return undefined;
  const sizes = [...tensors.values()].map(({ shape }) => elementCount(shape));
  const zeros = device.zeros("float32", [Math.max(0, ...sizes)]);
  return new Map([...tensors].map(([name, { shape }]) => [name, zeros.view(0, shape)]));
};

/**
 * Forgets all gradients, for the next update's first micro-step. In host memory they are zero from here on; on a device nothing
 * is copied or written, and what the tensors hold counts for nothing until that micro-step has run.
 */
export const clearGradients = ({ device, groups, accumulation, shards }: ParameterStore): void => {
  if (shards) for (const sums of shards.accumulators) sums.fill(0);
  else if (accumulation.zeros) accumulation.startsFromZeros = true;
  else for (const { gradients } of groups) (device.read(gradients) as Float32Array).fill(0);
};

/** Makes the gradients what they count for: zero where they were cleared, and no micro-step has run since. */
export const settleGradients = ({ device, groups, accumulation }: ParameterStore): void => {
  if (!accumulation.startsFromZeros) return;
  for (const { gradients, length } of groups) device.write(gradients, new Float32Array(length));
  accumulation.startsFromZeros = false;
};

/** The sums, by parameter name, that the next micro-step adds to; what it comes to belongs into `store.gradients`. */
export const gradientSums = ({
  gradients,
  accumulation,
}: TrainedTensors): ReadonlyMap<string, Tensor> =>
  (accumulation?.startsFromZeros && accumulation.zeros) || gradients;

/** Says that a micro-step has written the gradients. */
export const markGradients = ({ accumulation }: TrainedTensors): void => {
  if (accumulation) accumulation.startsFromZeros = false;
};

/** @throws {RangeError} if a device's sessions cannot read the store's tensors */
export const requirePlaceOf = (
  device: Device,
  { values, gradients }: Pick<ParameterStore, "values" | "gradients">,
): void => {
  const odd = [...values.values(), ...gradients.values()].find(
    ({ place }) => place !== device.place,
  );
  if (odd)
    throw new RangeError(
      `Cannot compute in memory of "${device.place}": found parameters or gradients in that of "${odd.place}"`,
    );
};

/** The values in host memory, by parameter name: the store's own tensors where they are there, else copies. */
export const valuesOnHost = ({ device, values }: ParameterStore): ReadonlyMap<string, Tensor> =>
  device.place === "host"
    ? values
    : new Map(
        [...values].map(([name, tensor]) => [
          name,
          Tensor.fromArray(tensor.dtype, tensor.shape, device.read(tensor)),
        ]),
      );
