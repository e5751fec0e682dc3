import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Makes node_modules ready for `npm pack`, which bundles onnxruntime-node and @xenova/transformers (`bundleDependencies`).
 *
 * onnxruntime-node's install script fetches CUDA libraries from NuGet, and where that is out of reach the install of every
 * package that depends on it fails; our .npmrc, which switches install scripts off, does not travel with a package. npm
 * runs the scripts of bundled packages too, so the bundled copy gets none, nor the two dependencies that only they use.
 * Called by `npm run build`, since npm runs no prepack where install scripts are off. Doing it twice changes nothing.
 */
const nodeModules = fileURLToPath(new URL("../../node_modules", import.meta.url));
const path = join(nodeModules, "onnxruntime-node", "package.json");

const {
  scripts: _,
  dependencies: { "onnxruntime-common": common },
  ...manifest
} = JSON.parse(await readFile(path, "utf8")) as {
  readonly scripts?: unknown;
  readonly dependencies: Readonly<Record<string, string>>;
};
const trimmed = { ...manifest, dependencies: { "onnxruntime-common": common } };
// Renamed into place: node_modules may share the file with another checkout by a hard link.
await writeFile(`${path}.new`, `${JSON.stringify(trimmed, undefined, 2)}\n`);
await rename(`${path}.new`, path);
// npm's own cache of what the package.json files say; it is made again where it is missing.
await rm(join(nodeModules, ".package-lock.json"), { force: true });
