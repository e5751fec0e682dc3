import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { folderSize } from "../core/folder-size.js";
import { readHubSettings } from "../models/hub/hub-settings.js";
import { indexName } from "../models/model-folder.js";
import { singleName } from "../models/shards.js";

/** A model that --model can name here. */
export interface FoundModel {
  /** What --model takes. */
  readonly name: string;
  readonly bytes: number;
  /** Whether it is in the Hub's cache. */
  readonly isCached: boolean;
}

const namesIn = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder).catch(() => [])).sort();

const isModelFolder = (folder: string): boolean =>
  existsSync(join(folder, "config.json")) &&
  [singleName, indexName].some((name) => existsSync(join(folder, name)));

/** The repositories in the Hub's cache that have a model's files, whatever revision they are of. */
const cachedModels = async (cacheFolder: string): Promise<readonly FoundModel[]> => {
  const found: FoundModel[] = [];
  for (const repo of await namesIn(cacheFolder)) {
    const [, name] = /^models--(.+)$/.exec(repo) ?? [];
    if (name === undefined) continue;
    const snapshots = join(cacheFolder, repo, "snapshots");
    const commits = await namesIn(snapshots);
    if (!commits.some((commit) => isModelFolder(join(snapshots, commit)))) continue;
    const { bytes } = await folderSize(join(cacheFolder, repo, "blobs"));
    found.push({ name: name.replace("--", "/"), bytes, isCached: true });
  }
  return found;
};

/** Model folders in `folder`: itself, and those in it; by paths from `workingFolder` on. */
const modelsBelow = async (
  folder: string,
  workingFolder: string,
): Promise<readonly FoundModel[]> => {
  const paths = [folder, ...(await namesIn(folder)).map((name) => join(folder, name))];
  const found: FoundModel[] = [];
  for (const path of paths.filter(isModelFolder)) {
    const { bytes } = await folderSize(path);
    found.push({ name: relative(workingFolder, path) || ".", bytes, isCached: false });
  }
  return found;
};

/** The models that can be named without fetching anything: in the working folder, its `models` and the data root, and in the Hub's cache. */
export const findModels = async ({
  dataRoot,
  workingFolder = process.cwd(),
  environment = process.env,
}: {
  readonly dataRoot: string;
  readonly workingFolder?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}): Promise<readonly FoundModel[]> => {
  const folders = new Set([workingFolder, join(workingFolder, "models"), dataRoot]);
  const found: FoundModel[] = [];
  for (const folder of folders) found.push(...(await modelsBelow(folder, workingFolder)));
  return [...found, ...(await cachedModels(readHubSettings(environment).cacheFolder))];
};
