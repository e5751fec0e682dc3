import type { Device } from "../../src/runtime/device.js";
import type { Session } from "../../src/runtime/session.js";
import { cpuDevice } from "../../src/runtime/devices/cpu.js";

/** A tensor that a run has read or written, by name. */
export interface Fed {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The CPU as a device that writes whole outputs, and what its runs were given as inputs and outputs. */
export const appendingDevice = (): {
  readonly device: Device;
  readonly runs: { readonly inputs: readonly Fed[]; readonly outputs: readonly Fed[] }[];
} => {
  const runs: { readonly inputs: readonly Fed[]; readonly outputs: readonly Fed[] }[] = [];
  const listed = (tensors: Readonly<Record<string, { readonly shape: readonly number[] }>>) =>
    Object.entries(tensors).map(([name, { shape }]) => ({ name, shape }));
  const noted = (session: Session): Session => ({
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    run(inputs, outputs = {}, options = {}) {
      runs.push({ inputs: listed(inputs), outputs: listed(outputs) });
      return session.run(inputs, outputs, options);
    },
    dispose: () => {
      session.dispose();
    },
  });
  const device: Device = {
    ...cpuDevice,
    name: "openvino",
    description: "the CPU, which writes whole outputs",
    rewritesOutputs: true,
    createSession: async (options) => noted(await cpuDevice.createSession(options)),
  };
  return { device, runs };
};
