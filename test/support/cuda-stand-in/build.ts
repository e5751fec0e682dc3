import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { deviceFolder, findLibrary } from "../../../src/runtime/devices/place.js";

const source = fileURLToPath(new URL("stand-in.c", import.meta.url));

/** NVIDIA's libraries, and the part of the source that stands in for each. */
const cudaLibraries = {
  "libcudart.so.13": "CUDART",
  "libcublasLt.so.13": "CUBLASLT",
  "libcublas.so.13": "CUBLAS",
  "libcurand.so.10": "CURAND",
} as const;

/** The driver's. */
const driver = { "libcuda.so.1": "CUDA" } as const;

const provider = findLibrary(
  deviceFolder("cuda", undefined),
  /^libonnxruntime_providers_cuda\.so$/,
);
const shared = findLibrary(
  deviceFolder("cuda", undefined),
  /^libonnxruntime_providers_shared\.so$/,
);

/** Why there can be no stand-in here; undefined: there can. */
export const standInMisses: string | undefined =
  process.platform !== "linux" || process.arch !== "x64"
    ? "this is not Linux x64"
    : provider === undefined || shared === undefined
      ? "ONNX Runtime's CUDA provider is not installed: scripts/install-accelerator.sh cuda"
      : spawnSync("gcc", ["--version"]).status === 0
        ? undefined
        : "gcc is not there";

const compile = (folder: string, libraries: Readonly<Record<string, string>>): void => {
  for (const [name, part] of Object.entries(libraries)) {
    const versions = join(folder, `${part}.map`);
    writeFileSync(versions, `${name} { global: *; };\n`);
    execFileSync("gcc", [
      ...["-w", "-shared", "-fPIC", `-D${part}`, `-Wl,-soname,${name}`],
      ...(name in driver ? [] : [`-Wl,--version-script=${versions}`]),
      ...["-o", join(folder, name), source],
    ]);
  }
};

/** Puts ONNX Runtime's own provider into a folder, as a device's folder has it. */
export const addProvider = (folder: string): void => {
  mkdirSync(folder, { recursive: true });
  for (const path of [provider, shared])
    if (path !== undefined) symlinkSync(path, join(folder, basename(path)));
};
/** Puts stand-ins of NVIDIA's libraries beside it. */
export const addCudaLibraries = (folder: string): void => compile(folder, cudaLibraries);
/** Puts a stand-in of the driver beside them. */
export const addDriver = (folder: string): void => compile(folder, driver);

/** What the stand-in has seen since the process began. */
export interface StandInCounts {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly copiesUp: number;
  readonly copiesDown: number;
  readonly launches: number;
  /** Calls that wait for the card. */
  readonly waits: number;
  readonly bytesHeld: number;
  readonly mostBytesHeld: number;
  /** Launches outside the stream of the device. */
  readonly strays: number;
  /** Copies whose addresses are not where their direction says. */
  readonly faults: number;
}

/** Reads the stand-in's counters. @param folder where it was built, and has been loaded from */
export const standInCounter = (folder: string): (() => StandInCounts) => {
  const address = koffi.address(
    koffi.load(join(folder, "libcudart.so.13")).symbol("stand_in_counters", "uint64_t"),
  );
  return () => {
    const [
      bytesUp,
      bytesDown,
      copiesUp,
      copiesDown,
      launches,
      waits,
      bytesHeld,
      most,
      strays,
      faults,
    ] = Array.from(new BigUint64Array(koffi.view(address, 80)), Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return {
      ...{ bytesUp, bytesDown, copiesUp, copiesDown, launches, waits, bytesHeld },
      ...{ mostBytesHeld: most, strays, faults },
    };
  };
};
