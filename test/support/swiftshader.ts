import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

/** Where the package @sparticuz/chromium keeps SwiftShader and a Vulkan loader; undefined where it is not installed. */
const archive = (): string | undefined => {
  try {
    const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
    return join(dirname(entry), "..", "..", "bin", "swiftshader.tar.br");
  } catch {
    return undefined;
  }
};

/**
 * Unpacks SwiftShader, a Vulkan driver that computes on the CPU, into a folder that `--device_dir` takes, and that goes when the
 * process ends.
 *
 * @returns the folder, or why there is none
 */
export const unpackSwiftShader = (): { readonly folder: string } | { readonly missing: string } => {
  if (process.platform !== "linux" || process.arch !== "x64")
    return { missing: `SwiftShader is for linux x64, this is ${process.platform} ${process.arch}` };
  const path = archive();
  if (path === undefined) return { missing: "@sparticuz/chromium is not installed" };
  const folder = mkdtempSync(join(tmpdir(), "hira-swiftshader-"));
  process.once("exit", () => {
    rmSync(folder, { recursive: true, force: true });
  });
  const files = ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"];
  const { status, stderr } = spawnSync("tar", ["-x", "-f", "-", "-C", folder, ...files], {
    input: brotliDecompressSync(readFileSync(path)),
  });
  return status === 0 ? { folder } : { missing: `tar could not unpack it: ${String(stderr)}` };
};
