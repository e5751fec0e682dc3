import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** What scripts/install-accelerator.sh installs. */
export type AcceleratorName = "openvino" | "cuda";

/**
 * Where scripts/install-accelerator.sh puts an accelerator's libraries: `accelerators/<name>` in $HIRA_HOME, else in
 * `hira` in $XDG_DATA_HOME, else in ~/.local/share/hira. The script reads the same variables.
 */
export const acceleratorPlace = (
  name: AcceleratorName,
  environment: Environment = process.env,
): string =>
  join(
    environment.HIRA_HOME ||
      join(environment.XDG_DATA_HOME || join(homedir(), ".local", "share"), "hira"),
    "accelerators",
    name,
  );

/** The folder in which a device's libraries are looked for: the given one, else $HIRA_DEVICE_DIR, else {@link acceleratorPlace}. */
export const deviceFolder = (
  name: AcceleratorName,
  given: string | undefined,
  environment: Environment = process.env,
): string => given ?? (environment.HIRA_DEVICE_DIR || acceleratorPlace(name, environment));

/** Where Python's packages keep their libraries, below a site-packages folder. */
const packageFolders = ["openvino/libs", "onnxruntime/capi"];

/** The libraries of NVIDIA's packages: nvidia/cu13/lib, nvidia/cublas/lib. */
const nvidiaFolders = (folder: string): string[] => {
  const root = join(folder, "nvidia");
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .sort()
    .map((name) => join(root, name, "lib"))
    .filter((path) => existsSync(path));
};

/**
 * The path of a library: in the folder itself, or where Python's packages have it if the folder is a site-packages.
 *
 * @param pattern of the whole file name, such as /^libcublas\.so\.13$/; of several the last by name
 * @returns undefined where there is none
 */
export const findLibrary = (folder: string, pattern: RegExp): string | undefined => {
  for (const place of [
    folder,
    ...packageFolders.map((path) => join(folder, path)),
    ...nvidiaFolders(folder),
  ]) {
    if (!existsSync(place)) continue;
    const found = readdirSync(place)
      .filter((name) => pattern.test(name))
      .sort()
      .at(-1);
    if (found !== undefined) return join(place, found);
  }
  return undefined;
};

/** One package of an installation, such as { name: "openvino", version: "2026.4.1" }. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
}

/** The packages that the install script put into a folder, in its order; none where it did not make the folder. */
export const installedPackages = (folder: string): readonly InstalledPackage[] => {
  const path = join(folder, "installed.txt");
  if (!existsSync(path)) return [];
  return [...readFileSync(path, "utf8").matchAll(/^package (\S+) (\S+)$/gm)].map(
    ([, name = "", version = ""]) => ({ name, version }),
  );
};
