import { didYouMean, UserError } from "../../core/errors.js";
import { deviceNames, type Device, type DeviceName } from "../device.js";
import { cpuDevice } from "./cpu.js";
import type { OpenDevice } from "./open-device.js";
import { openCuda } from "./cuda.js";
import { openOpenVino } from "./openvino.js";
import { openWebgpu } from "./webgpu.js";

/** Which device, and where its libraries are. */
export interface OpenDeviceOptions {
  /** As --device has it: "auto" (the CPU), a name, or a name and the number of a card, "cuda:1". */
  readonly device: string;
  /** --device_dir: the folder of the accelerator's libraries; undefined looks in the usual places. */
  readonly folder?: string | undefined;
}

/** A line a provider. */
const openers: Readonly<Record<DeviceName, OpenDevice>> = {
  cpu: () => Promise.resolve(cpuDevice),
  openvino: openOpenVino,
  cuda: (options) => openCuda(options),
  webgpu: openWebgpu,
};

/** The device of a name. @throws {UserError} on a name that is none, and for a device that cannot start */
export const openDevice = async ({ device, folder }: OpenDeviceOptions): Promise<Device> => {
  const [text = "", number] = device.split(":");
  const name = text === "auto" ? "cpu" : deviceNames.find((known) => known === text);
  const isCard = number === undefined || (/^\d+$/.test(number) && name === "cuda");
  if (!name || !isCard)
    throw new UserError(
      `Cannot compute on --device=${device}: expected ${deviceNames.join(", ")}, or cuda:N for card N`,
      didYouMean(text, deviceNames),
    );
  return openers[name]({ folder, card: Number(number ?? 0) });
};
