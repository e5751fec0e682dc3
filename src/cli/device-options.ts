import type { Precision } from "../core/precision.js";
import { flags, pickFlags, type FlagValues } from "./options.js";
import { always, onlyWith, type Requirement } from "./reads.js";

/** Where a run computes, in which number type, on how many threads (undefined: the runtime's choice). */
export interface DeviceOptions {
  readonly device: string;
  readonly deviceDir: string | undefined;
  readonly precision: Precision;
  readonly threads: number | undefined;
  readonly skipDeviceCheck: boolean;
}

/** The names of the flags that say it. */
export const deviceFlagNames = [
  "device",
  "device_dir",
  "precision",
  "threads",
  "skip_device_check",
] as const;

type DeviceValues = Pick<FlagValues, (typeof deviceFlagNames)[number]>;

/** The same flags for commands that take no --ds_config. */
export const deviceFlags = {
  ...pickFlags(deviceFlagNames),
  precision: { ...flags.precision, default: "fp32", help: "Number type of the arithmetic" },
} as const;

const isCpu = (device: string): boolean => device === "auto" || device === "cpu";

/** The device has libraries of its own. */
export const onAccelerator = onlyWith<"device", string>(
  "device",
  (device) => !isCpu(device),
  "device=openvino|cuda",
);

/** There is something to check: what computes is not the CPU in float32, with which all else is compared. */
export const offReference: Requirement<
  Pick<FlagValues, "device" | "precision"> & { readonly ds_config?: string | null }
> = {
  decidedBy: ["device", "precision", "ds_config"],
  isMet: ({ device, precision, ds_config: dsConfig }) =>
    !isCpu(device) || (precision ?? "fp32") !== "fp32" || typeof dsConfig === "string",
  otherwise: () => "on the CPU in fp32",
};

/** When each of them is read: of a command that always computes. */
export const deviceReads = {
  device: always,
  device_dir: [onAccelerator],
  precision: always,
  threads: always,
  skip_device_check: [offReference],
} as const;

/** What the flags say. */
export const readDeviceOptions = (values: DeviceValues): DeviceOptions => ({
  device: values.device,
  deviceDir: values.device_dir ?? undefined,
  precision: (values.precision ?? "fp32") as Precision,
  threads: values.threads ?? undefined,
  skipDeviceCheck: values.skip_device_check,
});
