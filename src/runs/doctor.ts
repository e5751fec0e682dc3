import { UserError } from "../core/errors.js";
import { folderSize, type FolderSize } from "../core/folder-size.js";
import type { Precision } from "../core/precision.js";
import { readProcessorFeatures, type MatrixFeature } from "../core/processor-features.js";
import { chooseDataRoot } from "../datasets/data-root.js";
import { splitsThere } from "../datasets/present-sources.js";
import type { Split } from "../datasets/rows.js";
import { sourceNames, sourceOf } from "../datasets/sources.js";
import { readHubSettings } from "../models/hub/hub-settings.js";
import {
  describeHost,
  readCodeVersion,
  type CodeVersion,
  type HostFacts,
} from "../report/run-json.js";
import type { ComputeChoice } from "../runtime/compute-plan.js";
import { deviceNames, type DeviceName } from "../runtime/device.js";
import { openDevice } from "../runtime/devices/registry.js";
import type { MemoryPlace } from "../runtime/tensor.js";
import { runtimeVersion } from "../runtime/ort/version.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import { findModels, type FoundModel } from "./found-models.js";
import { measureProducts, type ProductRate } from "./product-rate.js";

/** What is wrong, and what mends it. */
export interface Complaint {
  readonly message: string;
  readonly hint: string | undefined;
}

/** A device that can compute here, or what it lacks. */
export type FoundDevice =
  | {
      readonly name: DeviceName;
      readonly description: string;
      readonly place: MemoryPlace;
      readonly precisions: readonly Precision[];
      /** Of matrix products, a line a precision. */
      readonly rates: readonly ProductRate[];
    }
  | { readonly name: DeviceName; readonly missing: Complaint };

/** What is found on a machine, for a person who asks why something does not run, or not fast. */
export interface DoctorReport {
  readonly code: CodeVersion;
  readonly host: Omit<HostFacts, "onnxruntime"> & {
    /** Instructions that matter for matrix products; undefined where the system does not say. */
    readonly features: readonly MatrixFeature[] | undefined;
    /** What this process can still have, in bytes. */
    readonly available_bytes: number;
  };
  readonly runtime: { readonly version: string } | { readonly missing: Complaint };
  /** The device that was asked for, by its name. */
  readonly asked: DeviceName | undefined;
  readonly devices: readonly FoundDevice[];
  readonly data: {
    readonly root: string;
    /** What has named it. */
    readonly by: string;
    readonly sets: readonly { readonly name: string; readonly splits: readonly Split[] }[];
  };
  readonly models: readonly FoundModel[];
  readonly caches: readonly (FolderSize & {
    readonly what: "tokens" | "models";
    readonly folder: string;
  })[];
}

/** @throws what is no fault of the machine */
const complaintOf = (error: unknown): Complaint => {
  if (!(error instanceof UserError)) throw error;
  return { message: error.message, hint: error.hint };
};

/** Opens a device, looks at it, and gives it back. */
const lookAt = async (name: DeviceName, choice: ComputeChoice): Promise<FoundDevice> => {
  const [known, card] = (choice.device ?? "").split(":");
  const asked = known === name && card !== undefined ? `${name}:${card}` : name;
  try {
    const device = await openDevice({ device: asked, folder: choice.deviceDir });
    try {
      const { description, place, precisions } = device;
      const rates = await measureProducts(device, choice.threads);
      return { name, description, place, precisions, rates };
    } finally {
      device.dispose();
    }
  } catch (error) {
    return { name, missing: complaintOf(error) };
  }
};

const readRuntime = (): DoctorReport["runtime"] => {
  try {
    return { version: runtimeVersion() };
  } catch (error) {
    return { missing: complaintOf(error) };
  }
};

const askedName = (device: string | undefined): DeviceName | undefined => {
  const [text] = (device ?? "").split(":");
  return deviceNames.find((name) => name === text);
};

/**
 * Looks at this machine: the program, the processor, each device with what it lacks, data, models and caches.
 *
 * Devices are opened one after the other, so a broken one shows as what it says when it is opened.
 * @param choice.deviceDir where the libraries of the device that is asked for are; of all, where none is
 */
export const examineMachine = async (
  choice: ComputeChoice & { readonly dataDir?: string | undefined },
): Promise<DoctorReport> => {
  const runtime = readRuntime();
  const asked = askedName(choice.device === "auto" ? "cpu" : choice.device);
  const devices: FoundDevice[] = [];
  for (const name of deviceNames) {
    const own =
      asked === undefined || asked === name ? choice : { ...choice, deviceDir: undefined };
    devices.push(await lookAt(name, own));
  }
  const { onnxruntime: _, ...host } = describeHost("");
  const { root, by } = chooseDataRoot({ dataDir: choice.dataDir });
  const sets = await Promise.all(
    sourceNames.map(async (name) => ({ name, splits: await splitsThere(root, sourceOf(name)) })),
  );
  const folders = [
    { what: "tokens", folder: tokenCacheFolder() },
    { what: "models", folder: readHubSettings(process.env).cacheFolder },
  ] as const;
  return {
    code: await readCodeVersion(),
    host: {
      ...host,
      features: await readProcessorFeatures(),
      available_bytes: process.availableMemory(),
    },
    runtime,
    asked,
    devices,
    data: { root, by, sets: sets.filter(({ splits }) => splits.length > 0) },
    models: await findModels({ dataRoot: root }),
    caches: await Promise.all(
      folders.map(async (cache) => ({ ...cache, ...(await folderSize(cache.folder)) })),
    ),
  };
};
