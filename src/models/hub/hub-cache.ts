import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { randomUUID } from "node:crypto";
import { isJsonObject, tryParseJson } from "../../core/json.js";
import { writeFileAtomically } from "../../core/atomic-file.js";
import { makeFolder } from "../../core/folder.js";
import { indexName } from "../model-folder.js";
import { singleName } from "../shards.js";
import type { HubName } from "./hub-name.js";

/** What a repository is looked into for: a base model, a model's tokenizer, or what --ckpt may be: an adapter, else a model. */
export type HubPurpose = "model" | "tokenizer" | "trained";

/** The files of an adapter, as peft names them. */
export const adapterFiles = { config: "adapter_config.json", weights: "adapter_model.safetensors" };
/** The file of a fast tokenizer, as transformers names it. */
export const tokenizerFile = "tokenizer.json";

/** A repository's folder in the cache: `blobs` by their hashes, `snapshots/<commit>` of links to them, `refs/<revision>` with commits. */
export const repoFolderOf = (cacheFolder: string, repo: string): string =>
  join(cacheFolder, `models--${repo.replace("/", "--")}`);

/** Whether a text is a full commit hash: 40 hexadecimal digits in lower case. */
export const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

/** The folder of one commit's files in a repository's cache. Source: huggingface_hub, "Understand caching". */
export const snapshotOf = (repoFolder: string, commit: string): string =>
  join(repoFolder, "snapshots", commit);

const missingMark = (repoFolder: string, commit: string, name: string): string =>
  join(repoFolder, ".no_exist", commit, name);

const namesIn = (folder: string): Promise<readonly string[]> =>
  readdir(folder).catch((): string[] => []);

/** The commit that a revision was when it was last fetched; undefined where the cache does not know. */
const cachedCommit = async (repoFolder: string, revision: string): Promise<string | undefined> => {
  if (isCommit(revision)) return revision;
  const text = await readFile(join(repoFolder, "refs", revision), "utf8").catch(() => "");
  if (isCommit(text.trim())) return text.trim();
  if (!/^[0-9a-f]{7,39}$/.test(revision)) return undefined;
  const fitting = (await namesIn(join(repoFolder, "snapshots"))).filter((name) =>
    name.startsWith(revision),
  );
  return fitting.length === 1 ? fitting[0] : undefined;
};

const hasWeights = async (folder: string): Promise<boolean> => {
  // Links whose blobs are gone do not count.
  if (existsSync(join(folder, singleName))) return true;
  const index = await readFile(join(folder, indexName), "utf8").catch(() => undefined);
  if (index === undefined) return false;
  const parsed = tryParseJson(index);
  const map = "value" in parsed && isJsonObject(parsed.value) ? parsed.value.weight_map : undefined;
  // What is wrong with an index is for its reader to say.
  if (!isJsonObject(map)) return true;
  return [...new Set(Object.values(map))].every(
    (shard) => typeof shard === "string" && existsSync(join(folder, shard)),
  );
};

/** How far a snapshot serves a purpose: "usable" is one that a tokenizer may have to be added to. */
export type Completeness = "whole" | "usable" | "not";

const completenessOf = async (
  repoFolder: string,
  commit: string,
  purpose: HubPurpose,
): Promise<Completeness> => {
  const folder = snapshotOf(repoFolder, commit);
  const has = (name: string): boolean => existsSync(join(folder, name));
  if (purpose === "tokenizer") return has(tokenizerFile) ? "whole" : "not";
  if (purpose === "trained" && has(adapterFiles.config))
    return has(adapterFiles.weights) ? "whole" : "not";
  if (!has("config.json") || !(await hasWeights(folder))) return "not";
  return has(tokenizerFile) || existsSync(missingMark(repoFolder, commit, tokenizerFile))
    ? "whole"
    : "usable";
};

/** A snapshot in the cache. */
export interface CachedSnapshot {
  readonly folder: string;
  readonly is: "whole" | "usable";
  /** The pull request that it is of, where nobody has asked for one: see the Hub's conversions. */
  readonly conversion?: string;
}

/** The snapshot that the cache has for a name, if it serves the purpose. */
export const findCached = async (
  cacheFolder: string,
  { repo, revision }: HubName,
  purpose: HubPurpose,
): Promise<CachedSnapshot | undefined> => {
  const repoFolder = repoFolderOf(cacheFolder, repo);
  const look = async (name: string): Promise<CachedSnapshot | undefined> => {
    const commit = await cachedCommit(repoFolder, name);
    if (commit === undefined) return undefined;
    const is = await completenessOf(repoFolder, commit, purpose);
    return is === "not" ? undefined : { folder: snapshotOf(repoFolder, commit), is };
  };
  const found = await look(revision ?? "main");
  if (found || revision !== undefined) return found;
  const requests = await namesIn(join(repoFolder, "refs", "refs", "pr"));
  for (const number of requests) {
    const conversion = `refs/pr/${number}`;
    const converted = await look(conversion);
    if (converted) return { ...converted, conversion };
  }
  return undefined;
};

/** Notes the commit that a revision is now. */
export const writeRef = async (
  repoFolder: string,
  revision: string,
  commit: string,
): Promise<void> => {
  if (revision !== commit) await writeFileAtomically(join(repoFolder, "refs", revision), commit);
};

/** Notes that a commit has no file of that name, so that nobody asks for it again. */
export const markMissing = async (
  repoFolder: string,
  commit: string,
  name: string,
): Promise<void> => {
  const path = missingMark(repoFolder, commit, name);
  await makeFolder(dirname(path));
  await writeFile(path, "");
};

/**
 * Puts a blob into a snapshot under a file's name: a relative link, so that the cache can be moved; where the system has no links, the
 * blob itself.
 */
export const linkBlob = async (blob: string, path: string): Promise<void> => {
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.${randomUUID()}.tmp`;
  try {
    await symlink(relative(dirname(path), blob), beside);
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) throw error;
    await rename(blob, path);
  }
};
