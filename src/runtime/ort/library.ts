import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import koffi, { type LibraryHandle } from "koffi";
import { UserError } from "../../core/errors.js";

// Native code runs on stacks that koffi makes, 128 kiB for calls off the main thread: too little for the optimizers of
// a runtime that expects a thread's usual 8 MiB. The pages are mapped, and cost memory only where they are touched.
const stackBytes = 8 << 20;
koffi.config({ sync_stack_size: stackBytes, async_stack_size: stackBytes });

/** The runtime's file below `bin/napi-v6/<platform>/<arch>/` of onnxruntime-node. */
const fileNames: Readonly<Record<string, string>> = {
  linux: "libonnxruntime.so.1",
  darwin: "libonnxruntime.1.dylib",
  win32: "onnxruntime.dll",
};

/**
 * The path of the ONNX Runtime library that the onnxruntime-node package brings.
 *
 * Checked on linux x64. linux arm64, darwin arm64 and win32 are written from the package's layout and untested.
 *
 * @throws {UserError} where the package has no library for this platform
 */
export const onnxRuntimePath = (): string => {
  const root = dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
  const folder = join(root, "bin", "napi-v6", process.platform, process.arch);
  const path = join(folder, fileNames[process.platform] ?? "libonnxruntime.so.1");
  if (!existsSync(path))
    throw new UserError(
      `Cannot load ONNX Runtime: found no ${path}, expected the library that onnxruntime-node brings`,
      `The package serves linux (x64, arm64), darwin (arm64) and win32 (x64, arm64); this is ${process.platform} ${process.arch}`,
    );
  return path;
};

// koffi unloads a library whose handle is collected, and with it every function in use: these stay for good.
let onnxRuntime: { readonly library: LibraryHandle; readonly home: string } | undefined;
let libc: LibraryHandle | undefined;

const loadFrom = (path: string): LibraryHandle => {
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
  try {
    return koffi.load(path);
  } catch (error) {
    throw new UserError(
      `Cannot load ONNX Runtime from ${path}: ${error instanceof Error ? error.message : String(error)}`,
      "Reinstall the dependencies (npm ci); on Linux the library needs glibc, which Alpine's musl is not",
    );
  }
};

/** A new folder with a link to the library; undefined where none can be made, and on systems that take links otherwise. */
const folderOfLink = (library: string): string | undefined => {
  if (process.platform !== "linux") return undefined;
  try {
    const folder = mkdtempSync(join(tmpdir(), "hira-"));
    symlinkSync(library, join(folder, basename(library)));
    return folder;
  } catch {
    return undefined;
  }
};

/**
 * Loads through a link in a folder that is gone afterwards. The library takes that folder for its own: when providers' libraries
 * are to lie there, it is made again for them, see withFilesBesideOnnxRuntime, and no package's folder is written to.
 */
const load = (): { readonly library: LibraryHandle; readonly home: string } => {
  const path = onnxRuntimePath();
  const folder = folderOfLink(path);
  if (folder === undefined) return { library: loadFrom(path), home: dirname(path) };
  try {
    return { library: loadFrom(join(folder, basename(path))), home: folder };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/**
 * Loads the ONNX Runtime library, with its telemetry off: since 1.30 it reports to Microsoft by default on Linux too,
 * and leaves files in the temporary folder. Whoever wants that sets ORT_DISABLE_TELEMETRY=0.
 *
 * @throws {UserError} if it is missing, or the system refuses it
 */
export const loadOnnxRuntime = (): LibraryHandle => (onnxRuntime ??= load()).library;

/**
 * Runs `body` while files stand beside the ONNX Runtime library, where alone it looks for its providers' libraries.
 *
 * @param files paths, whose last parts are the names that the runtime looks for
 * @param body gets the folder; what it does not make the runtime load, the runtime does not find later
 * @throws {UserError} if no folder can be made
 */
export const withFilesBesideOnnxRuntime = <T>(
  files: readonly string[],
  body: (folder: string) => T,
): T => {
  const { home } = (onnxRuntime ??= load());
  if (home === dirname(onnxRuntimePath())) {
    if (files.every((path) => existsSync(join(home, basename(path))))) return body(home);
    throw new UserError(
      `Cannot load ${files.map((path) => basename(path)).join(" and ")}: ONNX Runtime looks for them in ${home}, where they are not`,
      `Make the temporary folder ${tmpdir()} one that can be written, or link the files there`,
    );
  }
  // It must be new: nobody else's files are loaded.
  mkdirSync(home, { mode: 0o700 });
  try {
    for (const path of files) symlinkSync(resolve(path), join(home, basename(path)));
    return body(home);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
};

/** The C library of this process: on POSIX the symbols that node itself is linked with. Windows is untested. */
export const cLibrary = (): LibraryHandle =>
  (libc ??= koffi.load(process.platform === "win32" ? "ucrtbase.dll" : null));
