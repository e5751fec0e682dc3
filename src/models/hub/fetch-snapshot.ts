import { existsSync } from "node:fs";
import { rename, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { download, partPath, removePart, type DownloadAdvice } from "../../core/download.js";
import { messageOf, UserError } from "../../core/errors.js";
import { gitBlobOf, hashFile } from "../../core/file-hash.js";
import { makeFolder } from "../../core/folder.js";
import { quoteJson, readJsonObject } from "../../core/json-file.js";
import { isJsonObject } from "../../core/json.js";
import type { Environment } from "../../core/request.js";
import { indexName, parseConfig } from "../model-folder.js";
import { requireUnquantizedConfig } from "../quantized.js";
import { withCacheLock } from "./cache-lock.js";
import { chooseFiles, hasOnlyPickles, requireWeights } from "./choose-files.js";
import {
  HubUnreachable,
  openRepository,
  type HubFile,
  type HubNetwork,
  type HubRepository,
} from "./hub-api.js";
import {
  linkBlob,
  markMissing,
  repoFolderOf,
  snapshotOf,
  tokenizerFile,
  writeRef,
  type HubPurpose,
} from "./hub-cache.js";
import { hubNameText, type HubName } from "./hub-name.js";
import type { HubSettings } from "./hub-settings.js";

/** Where it is shown what comes; report/progress.ts has one. */
export interface HubUi {
  decoding(
    total: number,
    label: string,
    unit?: string,
  ): { advance(parts: number, detail?: string): void; done(): void };
  line(text: string): void;
  warn(text: string): void;
}

/** What a snapshot is wanted for, and how it is fetched and reported. */
export interface FetchOptions {
  readonly purpose: HubPurpose;
  readonly ui: HubUi;
  readonly environment: Environment;
  readonly network?: HubNetwork | undefined;
}

const mib = (bytes: number): string =>
  bytes < 2 ** 20
    ? `${String(Math.ceil(bytes / 1024))} KiB`
    : `${String(Math.ceil(bytes / 2 ** 20))} MiB`;

const advice: DownloadAdvice = {
  hints: {},
  room: "Make room, or choose another cache with HF_HUB_CACHE",
  writing: "Make room, or choose a cache that can be written with HF_HUB_CACHE",
};

/** A commit that comes into the cache. */
interface Job extends FetchOptions {
  readonly repository: HubRepository;
  readonly repoFolder: string;
  readonly commit: string;
}

const blobOf = ({ repoFolder }: Job, { hash }: HubFile): string =>
  join(repoFolder, "blobs", hash.hex);

const isThere = ({ repoFolder, commit }: Job, { path }: HubFile): boolean =>
  existsSync(join(snapshotOf(repoFolder, commit), path));

/** What of a file is in the cache, a part that an earlier start has left among it. */
const bytesThere = async (job: Job, file: HubFile): Promise<number> => {
  const blob = blobOf(job, file);
  if (isThere(job, file) || existsSync(blob)) return file.bytes;
  const part = await stat(partPath(blob)).catch(() => undefined);
  return Math.min(part?.size ?? 0, file.bytes);
};

/** What speaks against a part that came whole. */
const faultOf = async (part: string, { bytes, hash }: HubFile): Promise<string | undefined> => {
  const { size } = await stat(part);
  if (size !== bytes) return `found ${String(size)} bytes, expected ${String(bytes)}`;
  const hex = hash.kind === "sha256" ? (await hashFile(part)).sha256 : await gitBlobOf(part);
  return hex === hash.hex
    ? undefined
    : `found ${hash.kind === "sha256" ? "SHA-256" : "the git blob"} ${hex}, expected ${hash.hex}`;
};

/** Fetches one file into `blobs` and links it into the snapshot. @param onBytes gets bytes of it that are there now */
const fetchFile = async (
  job: Job,
  file: HubFile,
  onBytes: (bytes: number) => void,
): Promise<void> => {
  const { repository, repoFolder, commit, environment, network, ui } = job;
  const link = join(snapshotOf(repoFolder, commit), file.path);
  if (existsSync(link)) return;
  const blob = blobOf(job, file);
  for (let isFirst = true; !existsSync(blob); isFirst = false) {
    const { resumedAt } = await download(repository.addressOf(commit, file.path), blob, {
      ...{ advice, environment, ...network, bytes: file.bytes, isVerified: true },
      headers: repository.headers,
      refusal: repository.refusal,
      onProgress: onBytes,
      onRetry: (why, waitMs) => {
        ui.warn(retryText(why, waitMs));
      },
    });
    const fault = await faultOf(partPath(blob), file);
    if (fault === undefined) {
      await rename(partPath(blob), blob);
      await removePart(blob);
      break;
    }
    await removePart(blob);
    // What was left from an earlier start may have been spoilt: once more from the beginning.
    if (!isFirst || resumedAt === 0)
      throw new UserError(
        `Cannot fetch ${file.path} of ${hubNameText(repository.name)}: ${fault}`,
        "It came spoilt and is thrown away. Try again; if it stays so, a proxy or a mirror in between changes it",
      );
    ui.warn(`${file.path}: ${fault}; fetching it again from its beginning`);
  }
  await linkBlob(blob, link);
};

const retryText = (why: string, waitMs: number): string =>
  `${why}; trying again${waitMs >= 2000 ? ` in ${String(Math.round(waitMs / 1000))} s` : ""}`;

/** Fetches files one after the other, with a bar for all of them. */
const fetchFiles = async (job: Job, files: readonly HubFile[]): Promise<void> => {
  const { ui, repository } = job;
  const there = new Map<HubFile, number>();
  for (const file of files) there.set(file, await bytesThere(job, file));
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const inMib = total >= 10 * 2 ** 20;
  const unitBytes = inMib ? 2 ** 20 : 1024;
  const inUnits = (bytes: number): number => Math.ceil(bytes / unitBytes);
  const sum = (): number => [...there.values()].reduce((all, bytes) => all + bytes, 0);
  const progress = ui.decoding(
    inUnits(total),
    `fetch ${repository.name.repo}`,
    inMib ? "MiB" : "KiB",
  );
  let shown = 0;
  const show = (detail: string): void => {
    const now = inUnits(sum());
    if (now === shown) return;
    progress.advance(now - shown, detail);
    shown = now;
  };
  try {
    for (const file of files) {
      show(file.path);
      await fetchFile(job, file, (bytes) => {
        there.set(file, bytes);
        show(file.path);
      });
      there.set(file, file.bytes);
      show(file.path);
    }
  } finally {
    progress.done();
  }
};

/** Fetches what is small without showing it. */
const fetchQuietly = async (job: Job, files: readonly HubFile[]): Promise<void> => {
  for (const file of files) await fetchFile(job, file, () => undefined);
};

/** The files that an index names. @throws {UserError} naming what is missing or no file's name */
const shardsOf = async (
  { repository, repoFolder, commit }: Job,
  files: readonly HubFile[],
): Promise<readonly HubFile[]> => {
  const where = join(snapshotOf(repoFolder, commit), indexName);
  const { weight_map: map } = await readJsonObject(where);
  const shards = isJsonObject(map) ? [...new Set(Object.values(map))] : [];
  const byName = new Map(files.map((file) => [file.path, file]));
  const missing = shards.filter(
    (shard) =>
      typeof shard !== "string" ||
      !shard.endsWith(".safetensors") ||
      byName.get(shard) === undefined,
  );
  if (shards.length === 0 || missing.length > 0)
    throw new UserError(
      `Cannot use ${hubNameText(repository.name)}: found ${indexName} to name ${missing.slice(0, 4).map(quoteJson).join(", ") || "no files"}, expected safetensors files beside it`,
      "The repository is not whole: tell its owners, or take another revision",
    );
  return shards.flatMap((shard) => byName.get(String(shard)) ?? []);
};

const requireRoom = async (job: Job, files: readonly HubFile[]): Promise<void> => {
  let missing = 0;
  for (const file of files) missing += file.bytes - (await bytesThere(job, file));
  const free = await statfs(job.repoFolder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Infinity,
  );
  if (missing > free)
    throw new UserError(
      `Cannot fetch ${hubNameText(job.repository.name)}: found ${mib(free)} free at ${job.repoFolder}, expected room for ${mib(missing)} more`,
      advice.room,
    );
};

/** A commit and its files: where the weights are pickles alone, those of the pull request of the Hub's converter. */
const findCommit = async (
  repository: HubRepository,
  { purpose, ui }: Pick<FetchOptions, "purpose" | "ui">,
): Promise<{
  readonly revision: string;
  readonly commit: string;
  readonly files: readonly HubFile[];
}> => {
  const { name } = repository;
  const revision = name.revision ?? "main";
  const commit = await repository.commitOf(revision);
  const files = await repository.files(commit);
  const isAsked = name.revision !== undefined;
  const isModel = files.some(({ path }) => path === "config.json");
  if (isAsked || purpose === "tokenizer" || !isModel || !hasOnlyPickles(files))
    return { revision, commit, files };
  const conversion = await repository.conversionOf(commit).catch((error: unknown) => {
    // Where there are no discussions there is no pull request.
    if (!(error instanceof UserError) || error instanceof HubUnreachable) throw error;
    return undefined;
  });
  if (conversion === undefined) return { revision, commit, files };
  const converted = await repository.commitOf(conversion);
  ui.line(
    `${name.repo} has only pickles: taking the safetensors of the Hub's converter, ${name.repo}@${conversion}`,
  );
  return { revision: conversion, commit: converted, files: await repository.files(converted) };
};

/**
 * Brings a repository's files into the cache, as far as `purpose` needs them, and resolves to their snapshot's folder.
 *
 * A file stands in the cache when it is whole and its hash is the Hub's; what was cut off is gone on with, and a revision is noted when all of its
 * files are there. config.json comes first: a model that cannot be used is told before its weights come.
 * @throws {UserError} if the Hub refuses or cannot be reached, or has nothing that can be used
 */
export const fetchSnapshot = async (
  name: HubName,
  settings: HubSettings,
  options: FetchOptions,
): Promise<string> => {
  const { ui, purpose } = options;
  const repoFolder = repoFolderOf(settings.cacheFolder, name.repo);
  const lock = join(settings.cacheFolder, ".locks", `${name.repo.replace("/", "--")}.hira`);
  const repository = openRepository(name, settings, {
    ...options,
    onRetry: (why, waitMs) => {
      ui.warn(retryText(why, waitMs));
    },
  });
  const work = async (): Promise<string> => {
    const { revision, commit, files } = await findCommit(repository, options);
    const job: Job = { ...options, repository, repoFolder, commit };
    const folder = snapshotOf(repoFolder, commit);
    const chosen = chooseFiles(name, files, purpose);
    await makeFolder(folder);
    const config = chosen.small.filter(({ path }) => path === "config.json");
    await fetchQuietly(job, config);
    if (config.length > 0 && purpose !== "tokenizer") await requireKnownModel(folder);
    const weights = purpose === "tokenizer" ? undefined : requireWeights(name, files, chosen);
    const isIndex = weights?.path === indexName;
    if (weights && isIndex) await fetchQuietly(job, [weights]);
    const heavy = weights ? (isIndex ? await shardsOf(job, files) : [weights]) : [];
    const all = [...chosen.small, ...heavy];
    const open = all.filter((file) => !isThere(job, file));
    if (open.length > 0) {
      await requireRoom(job, open);
      const bytes = open.reduce((sum, file) => sum + file.bytes, 0);
      ui.line(
        `Fetching ${hubNameText(name)} (commit ${commit.slice(0, 8)}): ${String(open.length)} file${open.length === 1 ? "" : "s"}, ${mib(bytes)}, into ${settings.cacheFolder}`,
      );
      await fetchFiles(job, open);
    }
    if (chosen.missing.includes(tokenizerFile))
      await markMissing(repoFolder, commit, tokenizerFile);
    await writeRef(repoFolder, revision, commit);
    return folder;
  };
  try {
    return await withCacheLock(
      lock,
      (holder) => {
        ui.line(`Waiting for ${holder}, which fetches ${name.repo}`);
      },
      work,
    );
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error;
    throw new UserError(
      `Cannot write to the Hub's cache ${settings.cacheFolder}: ${messageOf(error)}`,
      "Choose another with HF_HUB_CACHE",
    );
  } finally {
    await repository.close();
  }
};

/** @throws {UserError} if the model is of no kind that can be loaded */
const requireKnownModel = async (snapshot: string): Promise<void> => {
  const where = join(snapshot, "config.json");
  const raw = await readJsonObject(where);
  requireUnquantizedConfig(raw, where);
  parseConfig(raw, where);
};
