import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { LibraryHandle } from "koffi";
import { messageOf, UserError } from "../../core/errors.js";
import { exitWithoutTeardown } from "../exit-hook.js";
import { onnxRuntimePath } from "../ort/library.js";
import { findLibrary } from "../devices/place.js";
import { loadGlobally } from "./cudart.js";

/** ONNX Runtime's CUDA provider, which the package onnxruntime-gpu brings. */
const providerFiles = {
  cuda: "libonnxruntime_providers_cuda.so",
  shared: "libonnxruntime_providers_shared.so",
} as const;

/** NVIDIA's libraries that the provider names, each after those that it needs itself. */
const cudaFiles = [
  "libcudart.so.13",
  "libcublasLt.so.13",
  "libcublas.so.13",
  "libcurand.so.10",
] as const;

const driverFile = "libcuda.so.1";
/** Where containers and WSL keep the driver's library, beside where the system looks. */
const driverFolders = [
  "/usr/local/nvidia/lib64",
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib64",
  "/usr/lib/wsl/lib",
];

const install =
  "Install it: scripts/install-accelerator.sh cuda (or give its folder with --device_dir)";

/** The files of the CUDA provider, and CUDA's runtime, loaded. */
export interface CudaLibraries {
  /** Paths of the provider and of the library beside it. */
  readonly provider: string;
  readonly shared: string;
  readonly cudart: LibraryHandle;
}

// koffi unloads a library whose handle is collected, and with it every function in use: these stay for good.
const held: LibraryHandle[] = [];

const exactly = (name: string): RegExp => new RegExp(`^${name.replaceAll(".", "\\.")}$`);

const tryLoad = (paths: readonly string[]): LibraryHandle | string => {
  let fault = "";
  for (const path of paths) {
    try {
      const library = loadGlobally(path);
      held.push(library);
      return library;
    } catch (error) {
      fault = messageOf(error);
    }
  }
  return fault;
};

/**
 * Finds ONNX Runtime's CUDA provider, and loads the libraries that it needs for the whole process.
 *
 * The provider is looked for in `folder`, then beside ONNX Runtime's own library; NVIDIA's libraries in `folder`, in the folders of
 * HIRA_CUDA_LIBRARIES (with colons between), then where the system looks (LD_LIBRARY_PATH).
 *
 * @throws {UserError} naming what is missing: the provider, the libraries, or the driver
 */
export const loadCudaLibraries = (
  folder: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): CudaLibraries => {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new UserError(
      `Cannot compute on device "cuda": found ${process.platform} ${process.arch}, expected linux x64`,
      "--device=webgpu serves other systems; --device=cpu works everywhere",
    );
  const places = [folder, dirname(onnxRuntimePath())];
  const [provider, shared] = [providerFiles.cuda, providerFiles.shared].map((name) =>
    places.flatMap((place) => findLibrary(place, exactly(name)) ?? []).at(0),
  );
  if (provider === undefined || shared === undefined)
    throw new UserError(
      `Cannot compute on device "cuda": found no ${provider === undefined ? providerFiles.cuda : providerFiles.shared} in ${folder}, expected ONNX Runtime's CUDA provider`,
      install,
    );

  const folders = [folder, ...(environment.HIRA_CUDA_LIBRARIES ?? "").split(":").filter(Boolean)];
  const loaded = cudaFiles.map((name) =>
    tryLoad([...folders.flatMap((place) => findLibrary(place, exactly(name)) ?? []), name]),
  );
  const missing = loaded.flatMap((result, i) =>
    typeof result === "string" ? [{ name: cudaFiles[i] ?? "", fault: result }] : [],
  );
  const [cudart] = loaded;
  if (missing.length > 0 || typeof cudart !== "object") {
    // The next try may be given others of the same names, which would count for loaded already.
    for (const library of held.splice(0)) library.unload();
    throw new UserError(
      `Cannot compute on device "cuda": found no ${missing.map(({ name }) => name).join(", no ")}, expected CUDA 13's libraries in ${folders.join(", ")} or the system's folders`,
      `${install}. The system's loader said: ${missing[0]?.fault ?? ""}`,
    );
  }
  const driver = tryLoad([
    // NVIDIA's package cuda-compat brings a newer one than the system's.
    ...folders.flatMap((place) => findLibrary(place, exactly(driverFile)) ?? []),
    driverFile,
    ...driverFolders.map((place) => join(place, driverFile)).filter((path) => existsSync(path)),
  ]);
  if (typeof driver === "string") {
    for (const library of held.splice(0)) library.unload();
    throw new UserError(
      `Cannot compute on device "cuda": found no driver of NVIDIA's, expected its ${driverFile}, for CUDA 13 or later`,
      `Install NVIDIA's driver 580 or later; in a container: start it with its cards (docker run --gpus all). The system's loader said: ${driver}`,
    );
  }
  // The provider, which node unloads after these at the end, calls into them (exit code 139, seen with a stand-in of them).
  exitWithoutTeardown();
  return { provider, shared, cudart };
};
