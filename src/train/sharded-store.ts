import { elementCount } from "../core/dtype.js";
import type { Adapter, AdapterParameter } from "../peft/adapter.js";
import type { BaseTensors } from "../peft/init.js";
import { cpuDevice } from "../runtime/devices/cpu.js";
import { Tensor } from "../runtime/tensor.js";
import { momentsOn, type MomentAllocator } from "./optimizer.js";
import type { ParameterStore } from "./parameters.js";
import type { Sharding } from "./sharding.js";
import { Shards } from "./shards.js";

/** What a sharded store is made from; see createParameterStore. */
export interface ShardedStart {
  readonly seed: number;
  readonly start: (parameter: AdapterParameter) => Float32Array | undefined;
  readonly base?: BaseTensors | undefined;
  readonly moments?: MomentAllocator | undefined;
}

/** A store whose trainable parameters are shared out among processes, in host memory; every process draws the same start values. */
export const createShardedStore = (
  { parameters }: Pick<Adapter, "parameters">,
  { seed, start, base, moments = momentsOn(cpuDevice) }: ShardedStart,
  sharding: Sharding,
): ParameterStore => {
  const values = new Map<string, Tensor>();
  const shards = new Shards(parameters, sharding, moments, values);
  for (const parameter of parameters) {
    const { name, shape, init, trainable } = parameter;
    const data = start(parameter) ?? init(shape, seed, name, base);
    if (trainable) shards.putValue(name, data);
    else values.set(name, Tensor.fromArray("float32", shape, data));
  }
  return {
    device: cpuDevice,
    groups: shards.groups,
    parameters,
    values,
    gradients: shards.gradients,
    m: new Map(),
    v: new Map(),
    trainableCount: parameters.reduce(
      (sum, { trainable, shape }) => sum + (trainable ? elementCount(shape) : 0),
      0,
    ),
    masks: new Map(),
    accumulation: { zeros: undefined, startsFromZeros: false },
    shards,
  };
};
