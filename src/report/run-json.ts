import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { FileHash } from "../core/file-hash.js";
import { hashFile } from "../core/file-hash.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson, readJsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { readOutputFlags } from "./output-jsonl.js";

/** Which program ran. */
export interface CodeVersion {
  /** The package's version. */
  readonly version: string;
  /** The commit of the checkout it ran from; null for an installed package. */
  readonly commit: string | null;
  /** Whether tracked files of the checkout differed from that commit; null where there is none. */
  readonly dirty: boolean | null;
}

/** What it ran on. */
export interface HostFacts {
  readonly platform: string;
  readonly release: string;
  readonly arch: string;
  readonly cpu: string;
  /** Cores this process may use. */
  readonly cores: number;
  readonly memory_bytes: number;
  readonly node: string;
  readonly onnxruntime: string;
}

/** What a run computed on, and what a comparison with the CPU has shown before its first step. */
export interface DeviceFacts {
  readonly name: string;
  /** With the versions that matter: "CPU, ONNX Runtime 1.30.0". */
  readonly description: string;
  readonly precision: string;
  /** Null on the CPU in float32, which everything is compared with; "skipped" by --skip_device_check. */
  readonly check:
    | {
        readonly loss: number;
        readonly cpu_loss: number;
        /** |gradient - g| / |g|, g the CPU's; of the parameter for which it is largest beside its bound. */
        readonly largest_gradient_error: number | null;
        readonly largest_gradient_error_of: string | null;
        /** How large it may be. */
        readonly gradient_bound: number | null;
        readonly seconds: number;
      }
    | "skipped"
    | null;
}

/** Everything needed to do a run again, and to see what has changed since. */
export interface RunFacts {
  readonly startedAt: Date;
  /** The arguments after `hira`. */
  readonly argv: readonly string[];
  /** The flags by their names on the command line, with their effective values. */
  readonly flags: Readonly<Record<string, string | number | boolean | null>>;
  /** How many processes train together. Default: 1. */
  readonly processes?: number;
  /** What a --ds_config says of updates beyond the flags: constants, schedule, loss scale; undefined where it says nothing. */
  readonly updates?: JsonObject | undefined;
  /** By purpose, such as `adapter`, `data_order`. */
  readonly seeds: Readonly<Record<string, number>>;
  /** The model's folder, and SHA-256 of its files by name; see hashModelFiles. */
  readonly model: {
    readonly folder: string;
    readonly sha256: Readonly<Record<string, string>>;
    /** Its config.json as it stood. */
    readonly config?: JsonObject;
    /** How its weights are held, by transformers' names; undefined where they stay floats. */
    readonly quantization_config?: JsonObject | undefined;
  };
  /** Tokenizer.hash; undefined for data that are token ids already. */
  readonly tokenizerHash: string | undefined;
  /** By path; see {@link hashFiles}. */
  readonly data: Readonly<Record<string, FileHash>>;
  readonly code: CodeVersion;
  readonly host: HostFacts;
  readonly device?: DeviceFacts | undefined;
}

const run = promisify(execFile);
const fileName = "run.json";
const format = 1;

/** Sizes and SHA-256 of files by path, one after the other. @throws {UserError} if one cannot be read */
export const hashFiles = async (
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<Readonly<Record<string, FileHash>>> => {
  const hashes: Record<string, FileHash> = {};
  for (const path of paths) hashes[path] = await hashFile(path, signal);
  return hashes;
};

/** The version of this package, and the commit where it runs from its own checkout and git is installed. */
export const readCodeVersion = async (): Promise<CodeVersion> => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const { version } = await readJsonObject(join(root, "package.json"));
  const installed = { version: String(version), commit: null, dirty: null };
  // Without this, git would answer for whatever repository the package is installed in.
  if (!existsSync(join(root, ".git"))) return installed;
  const git = async (...args: string[]): Promise<string> =>
    (await run("git", ["-C", root, ...args], { timeout: 10_000 })).stdout.trim();
  try {
    const commit = await git("rev-parse", "HEAD");
    const changes = await git("status", "--porcelain", "--untracked-files=no");
    return { version: String(version), commit, dirty: changes !== "" };
  } catch {
    return installed;
  }
};

/** @param onnxruntime the version of the ONNX Runtime library in use */
export const describeHost = (onnxruntime: string): HostFacts => ({
  platform: platform(),
  release: release(),
  arch: arch(),
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: availableParallelism(),
  memory_bytes: totalmem(),
  node: process.versions.node,
  onnxruntime,
});

/**
 * Writes run.json into the run folder; to be called before step 1, so that a killed run has left its record.
 *
 * @throws {UserError} if it cannot be written
 */
export const writeRunJson = (runFolder: string, facts: RunFacts): Promise<void> => {
  const {
    startedAt,
    argv,
    flags,
    processes = 1,
    updates,
    seeds,
    model,
    tokenizerHash,
    data,
    code,
    host,
    device,
  } = facts;
  const json = {
    format,
    started_at: startedAt.toISOString(),
    argv,
    flags,
    processes,
    ...(updates && { updates }),
    seeds,
    model,
    tokenizer_hash: tokenizerHash ?? null,
    data,
    code,
    host,
    ...(device && { device }),
  };
  return writeFileAtomically(join(runFolder, fileName), `${JSON.stringify(json, undefined, 2)}\n`);
};

/** What run.json says of a run, for comparison with one that is to go on from it. */
export interface RecordedRun {
  readonly flags: JsonObject;
  readonly processes: number;
  /** What a --ds_config said of updates; empty where it said nothing. */
  readonly updates: JsonObject;
  /** SHA-256 by name of the model's files. */
  readonly modelHashes: JsonObject;
  readonly tokenizerHash: string | undefined;
  /** By path, in the order in which they were read: {@link FileHash}. */
  readonly data: JsonObject;
  readonly code: JsonObject;
  readonly host: JsonObject;
  /** Undefined in records of versions that knew the CPU alone. */
  readonly device: JsonObject | undefined;
}

/** run.json as it stands. @throws {UserError} if it cannot be read or another version has written it */
const readRunJson = async (path: string): Promise<JsonObject> => {
  const json = await readJsonObject(path);
  if (json.format !== format)
    throw new UserError(
      `Cannot read ${path}: found format ${quoteJson(json.format)}, expected ${String(format)}`,
      "Another version of hira has written it",
    );
  return json;
};

const objectIn = (json: JsonObject, key: string, path: string): JsonObject => {
  const value = json[key];
  if (isJsonObject(value)) return value;
  throw new UserError(
    `Cannot read ${path}: found ${quoteJson(value)} in ${key}, expected an object`,
  );
};

/** Reads run.json. @throws {UserError} if it is missing or broken */
export const readRecordedRun = async (runFolder: string): Promise<RecordedRun> => {
  const path = join(runFolder, fileName);
  const json = await readRunJson(path);
  const { tokenizer_hash: tokenizerHash } = json;
  return {
    flags: objectIn(json, "flags", path),
    processes: typeof json.processes === "number" ? json.processes : 1,
    updates: isJsonObject(json.updates) ? json.updates : {},
    modelHashes: objectIn(objectIn(json, "model", path), "sha256", path),
    tokenizerHash: typeof tokenizerHash === "string" ? tokenizerHash : undefined,
    data: objectIn(json, "data", path),
    code: objectIn(json, "code", path),
    host: objectIn(json, "host", path),
    device: isJsonObject(json.device) ? json.device : undefined,
  };
};

/** The base model that a run.json tells. */
export interface RecordedModel {
  /** Absolute, where it was then. */
  readonly folder: string | undefined;
  /** SHA-256 of its files, by their names in the folder. */
  readonly sha256: Readonly<Record<string, string>>;
  /** Its config.json; undefined in records of earlier versions. */
  readonly config: JsonObject | undefined;
  readonly startedAt: Date;
}

/** The base model of a run; undefined where its folder has no run.json. @throws {UserError} if it is broken */
export const readRecordedModel = async (runFolder: string): Promise<RecordedModel | undefined> => {
  const path = join(runFolder, fileName);
  if (!existsSync(path)) return undefined;
  const json = await readRunJson(path);
  const model = objectIn(json, "model", path);
  const hashes = Object.entries(objectIn(model, "sha256", path));
  return {
    folder: typeof model.folder === "string" ? model.folder : undefined,
    sha256: Object.fromEntries(
      hashes.filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    ),
    config: isJsonObject(model.config) ? model.config : undefined,
    startedAt: new Date(String(json.started_at)),
  };
};

/** One continuation of a run. */
export type ResumedFacts = Pick<RunFacts, "startedAt" | "argv" | "code" | "host" | "device"> & {
  /** Updates done when it went on. */
  readonly step: number;
  /** Flags that have other values from here on: a run that was made longer. */
  readonly changed?: RunFacts["flags"];
};

/**
 * Adds to run.json, in the list `resumed`, that the run went on: when, how, where and from which step.
 *
 * @throws {UserError} if the file cannot be read or written
 */
export const recordResumption = async (
  runFolder: string,
  { startedAt, step, argv, code, host, device, changed }: ResumedFacts,
): Promise<void> => {
  const path = join(runFolder, fileName);
  const json = await readRunJson(path);
  const before: readonly unknown[] = Array.isArray(json.resumed) ? json.resumed : [];
  const started_at = startedAt.toISOString();
  const now = { started_at, step, argv, code, host, ...(device && { device }) };
  const resumed = [...before, { ...now, ...(changed && { changed }) }];
  const flags = { ...objectIn(json, "flags", path), ...changed };
  await writeFileAtomically(path, `${JSON.stringify({ ...json, flags, resumed }, undefined, 2)}\n`);
};

/**
 * The flags a run was made with: line 1 of its output.jsonl, and from run.json those that the original lacks, or all where the run
 * was stopped before it wrote one.
 *
 * @throws {UserError} if neither is there, or the one that is there is broken
 */
export const readRunFlags = async (runFolder: string): Promise<JsonObject> => {
  const output = join(runFolder, "output.jsonl");
  const original = existsSync(output) ? await readOutputFlags(output) : undefined;
  const path = join(runFolder, fileName);
  if (!existsSync(path) && original) return original;
  if (!existsSync(path))
    throw new UserError(
      `Cannot read the flags of ${runFolder}: found neither output.jsonl nor run.json, expected one of them`,
      "Give the folder of a run, as it was printed at its start",
    );
  return { ...objectIn(await readRunJson(path), "flags", path), ...original };
};
