import { appendFileSync } from "node:fs";
import type { Precision } from "../../src/core/precision.js";
import { openPlan, type ComputePlan } from "../../src/runtime/compute-plan.js";
import type { Device } from "../../src/runtime/device.js";

/** One line of a stage's table: what, and what was found. */
export type Row = Readonly<Record<string, string | number | boolean | null>>;

/** What every stage is told. */
export interface CheckSettings {
  /** A --device. */
  readonly device: string;
  readonly deviceDir?: string | undefined;
  /** Small shapes, and the CPU in place of the device. */
  readonly dryRun: boolean;
  /** A folder with room for models: 20 GB, or 100 MB in a dry run. */
  readonly work: string;
  /** The Python of PyTorch, transformers and peft; undefined: nothing is compared with them. */
  readonly python?: string | undefined;
}

/** What a stage works with. */
export interface StageContext extends CheckSettings {
  /** Tells a line of the table at once: what a stage found before it was stopped is kept. */
  readonly add: (row: Row) => void;
  /** The device, opened once. */
  readonly open: () => Promise<Device>;
  /** A plan on it in a precision. */
  readonly plan: (precision: Precision) => Promise<ComputePlan>;
}

/** A part of the check, run in a process of its own. */
export interface Stage {
  readonly title: string;
  /** What the table shows, in a sentence. */
  readonly about: string;
  /** Seconds after which it is stopped. */
  readonly limit: number;
  /** @throws {Error} if it cannot be done; rows whose `ok` is false are faults, too */
  readonly run: (context: StageContext) => Promise<void>;
}

/** The context of a stage whose rows go into a file of JSON Lines. */
export const stageContext = (settings: CheckSettings, rows: string): StageContext => {
  let opened: Promise<Device> | undefined;
  const open = (): Promise<Device> =>
    (opened ??= openPlan({ device: settings.device, deviceDir: settings.deviceDir }).then(
      ({ device }) => device,
    ));
  return {
    ...settings,
    open,
    plan: async (precision) => ({ device: await open(), precision, threads: undefined }),
    add: (row) => {
      appendFileSync(rows, `${JSON.stringify(row)}\n`);
    },
  };
};

/** A number in as many digits as a reader wants. */
export const short = (number: number): number => Number(number.toPrecision(3));

/** The message of an error, on one line. */
export const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, " ").slice(0, 300);

/** The precisions of a device that a stage wants, in its order. */
export const precisionsOf = (
  { precisions }: Device,
  wanted: readonly Precision[],
): readonly Precision[] => wanted.filter((precision) => precisions.includes(precision));

/** Whether the device has the CPU's memory behind it: then bytes of it are not told. */
export const usedBytes = (device: Device): number | undefined =>
  "usedBytes" in device ? (device.usedBytes as () => number)() : undefined;
