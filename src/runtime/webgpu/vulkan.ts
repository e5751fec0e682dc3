import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import koffi, { type LibraryHandle } from "koffi";
import { UserError } from "../../core/errors.js";

// koffi unloads a library whose handle is collected.
let loader: LibraryHandle | undefined;

/**
 * Lets WebGPU find a folder's Vulkan driver instead of the system's: its description (`*icd*.json`, as SwiftShader and Mesa have
 * one) and, if it is there, its loader, libvulkan.so.1. To be called before the first session; on Linux alone.
 *
 * The driver is named to the loader by VK_ICD_FILENAMES, which the loader reads from this process's environment.
 *
 * @throws {UserError} if the folder has neither, or the system refuses the loader
 */
export const useVulkanOf = (folder: string, environment: NodeJS.ProcessEnv = process.env): void => {
  const library = join(folder, "libvulkan.so.1");
  const hasLoader = existsSync(library);
  const descriptions = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => /icd.*\.json$/.test(name))
        .sort()
    : [];
  if (!hasLoader && descriptions.length === 0)
    throw new UserError(
      `Cannot compute on device "webgpu": found neither libvulkan.so.1 nor a driver's *icd*.json in ${folder}, expected one of them`,
      "Without --device_dir and HIRA_DEVICE_DIR the system's Vulkan drivers are taken",
    );
  if (hasLoader)
    try {
      loader ??= koffi.load(library);
    } catch (error) {
      throw new UserError(
        `Cannot compute on device "webgpu": the system refuses ${library}: ${error instanceof Error ? error.message : String(error)}`,
        "Take a folder whose libraries are for this machine",
      );
    }
  if (descriptions.length > 0)
    environment.VK_ICD_FILENAMES = descriptions
      .map((name) => resolve(folder, name))
      .join(process.platform === "win32" ? ";" : ":");
};
