import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { ort, type Handle } from "./c-api.js";
import type { ExternalInitializer } from "./external-initializers.js";
import { OrtError } from "./ort-error.js";
import { compare, findNative, findUnknown, throwFaults, type Fault } from "./port.js";
import type { OptimizationLevel, SessionOptions } from "../session.js";
import type { NativeTensor, Tensor } from "../tensor.js";

const optimizationLevels = { none: 0, basic: 1, extended: 2, all: 99 } as const satisfies Record<
  OptimizationLevel,
  number
>;

/** A provider of ONNX Runtime other than the CPU's. */
export interface OrtProvider {
  /** Adds it to a session's options, with its own. */
  readonly append: (options: Handle<"SessionOptions">) => void;
  /**
   * Whether a run whose outputs are all in the device's memory may end before the device has computed them: all sessions then
   * work in one order, and whoever reads waits.
   */
  readonly ordered: boolean;
  /** What a failure of the runtime means on this device; others are given back as they are. */
  readonly explain: (error: unknown) => unknown;
}

/** What turns Cast(weight) and the like into new weights; by their names in ONNX Runtime's sources. */
const weightFoldingOptimizers = ["ConstantFolding", "FuseFp16InitializerToFp32NodeTransformer"];

/** Checks `given` against what the model leaves open, and returns the memory by name. */
export const matchInitializers = (
  external: ReadonlyMap<string, ExternalInitializer>,
  given: Readonly<Record<string, Tensor>>,
): Map<string, NativeTensor> => {
  const faults: Fault[] = [];
  const natives = new Map<string, NativeTensor>();
  findUnknown("external initializer", given, external, faults);
  for (const [name, port] of external) {
    const native = findNative("initializer", name, given[name], faults);
    if (native === undefined) continue;
    compare("initializer", port, native, new Map(), faults);
    natives.set(name, native);
  }
  throwFaults("create a session", faults);
  return natives;
};

/**
 * Puts the settings, and the memory of the initializers, into ONNX Runtime's own options.
 *
 * @param folder see {@link withPlaceholder}
 * @throws {RangeError} on a number of threads below 1
 */
export const configure = (
  options: Handle<"SessionOptions">,
  settings: SessionOptions,
  initializers: ReadonlyMap<string, NativeTensor>,
  folder: string | undefined,
  provider?: OrtProvider,
): void => {
  const api = ort();
  const { threads = availableParallelism(), optimization = "all" } = settings;
  if (!Number.isSafeInteger(threads) || threads < 1)
    throw new RangeError(`Cannot create a session: found threads ${threads}, expected 1 or more`);
  api.setSessionLogSeverityLevel(options, 4);
  api.setIntraOpNumThreads(options, threads);
  api.setSessionGraphOptimizationLevel(options, optimizationLevels[optimization]);
  if (settings.arena === false) api.disableCpuMemArena(options);
  if (settings.memoryPattern !== true) api.disableMemPattern(options);
  if (settings.profile !== undefined) api.enableProfiling(options, settings.profile);
  const entry = (name: string, value: string): void =>
    api.addSessionConfigEntry(options, name, value);
  entry("session.disable_prepacking", settings.prepack === true ? "0" : "1");
  const disabled =
    settings.disabledOptimizers ?? (initializers.size > 0 ? weightFoldingOptimizers : []);
  if (disabled.length > 0) entry("optimization.disable_specified_optimizers", disabled.join(";"));
  if (folder !== undefined) entry("session.model_external_initializers_file_folder_path", folder);
  for (const [name, native] of initializers) api.addInitializer(options, name, native.value);
  provider?.append(options);
};

/**
 * Runs `body` with a folder that has an empty file "weights", and removes it.
 *
 * ONNX Runtime wants external data to be an existing file below a given folder, and looks no further for initializers
 * whose memory it has been given. The file is empty so that whatever does read it fails instead of computing with
 * other numbers: constant folding of a Cast, for one (leave it out with disabledOptimizers).
 */
export const withPlaceholder = async <T>(body: (folder: string) => Promise<T>): Promise<T> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-"));
  try {
    await writeFile(join(folder, "weights"), "");
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

/** Says what to do where the runtime read an external initializer while loading, and found the placeholder. */
export const explainPlaceholder = (error: unknown): unknown => {
  if (!(error instanceof OrtError)) return error;
  const name = /External initializer: (\S+) offset|external tensors\..* for tensor: (\S+)/.exec(
    error.message,
  );
  if (name === null) return error;
  return new RangeError(
    `Cannot create a session: found initializer "${name[1] ?? name[2]}" read while loading, expected it to be used by operators alone. ` +
      "Shapes, axes and single numbers belong into the model; for the rest name the optimizer in disabledOptimizers",
    { cause: error },
  );
};
