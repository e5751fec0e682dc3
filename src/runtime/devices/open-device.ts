import type { Device } from "../device.js";

/** What a device's file gives: `card` counts from 0. @throws {UserError} saying what is missing, and what mends it */
export type OpenDevice = (options: {
  readonly folder: string | undefined;
  readonly card: number;
}) => Promise<Device>;
