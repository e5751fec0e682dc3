import { mkdir, readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { requireWritableFolder } from "../core/atomic-file.js";
import { messageOf, UserError } from "../core/errors.js";
import { makeFolder } from "../core/folder.js";
import { hubNameOfSnapshot, parseHubName } from "../models/hub/hub-name.js";
import { formatTwoDigitExponent } from "./python-format.js";

/** The options that enter a run folder's name, under the names of their flags. */
export interface RunFolderOptions {
  readonly modelName: string;
  readonly dataset: string;
  readonly peftType: string;
  readonly lr: number;
  readonly loadBit: number;
  readonly rank: number;
  /** --init_ab as given, such as "kaiming,zero". */
  readonly initAb: string;
  /** --train_ab as given, such as "yy". */
  readonly trainAb: string;
  readonly seed?: number | undefined;
  readonly expName: string;
}

const twoDigits = (value: number): string => String(value).padStart(2, "0");

/** `YYYY-MM-DD-HH-MM-SS` in local time. */
const timeStamp = (time: Date): string =>
  [
    String(time.getFullYear()),
    ...[time.getMonth() + 1, time.getDate()].map(twoDigits),
    ...[time.getHours(), time.getMinutes(), time.getSeconds()].map(twoDigits),
  ].join("-");

/** The part after the last "/"; a closing "/" does not make it empty. */
const lastPart = (path: string): string => path.replace(/[/\\]+$/, "").replace(/^.*[/\\]/s, "");

/**
 * The name of a model for people: the last part of its path or Hub id, as the original has it; of a path that ends in `.` or
 * `..` the folder's own name; of a snapshot in the Hub's cache (`models--{org}--{name}/snapshots/{hash}`) the model's; of
 * `{org}/{name}@{revision}` name and revision, without slashes and a commit's last digits. A name
 * never begins with a dot, which would hide the run's folder.
 */
export const modelNameOf = (path: string): string => {
  const absolute = resolve(path);
  const inCache = hubNameOfSnapshot(absolute);
  if (inCache) return lastPart(inCache.repo);
  const { repo = "", revision } = parseHubName(path) ?? {};
  if (revision !== undefined) {
    const short = /^[0-9a-f]{40}$/.test(revision) ? revision.slice(0, 8) : revision;
    return `${lastPart(repo)}@${short.replaceAll("/", "-")}`;
  }
  const last = lastPart(path);
  const name = /^\.{0,2}$/.test(last) ? basename(absolute) : last;
  return name.replace(/^\.+/, "") || "model";
};

/**
 * `{model}-{dataset}-{peft_type}-lr={lr}-[{load_bit}bit-][r_ab=..-init=..-train=..-][seed=..-]{exp_name}-{time}`.
 *
 * `time` is printed in local time. Without an exp_name two dashes meet, as in the original. A data set given as a
 * file, which the original does not know, enters by its name without folder and ending.
 * Source: train_hira.py, exp_name and output_dir_by_time.
 */
export const runFolderName = (options: RunFolderOptions, time: Date): string => {
  const { modelName, dataset, peftType, lr, loadBit, rank, initAb, trainAb, seed, expName } =
    options;
  const initials = initAb
    .split(",")
    .map((init) => init.trim().slice(0, 1))
    .join("");
  return [
    modelNameOf(modelName),
    lastPart(dataset).replace(/\.jsonl?(\.gz)?$/, ""),
    peftType,
    `lr=${formatTwoDigitExponent(lr)}`,
    ...(loadBit === 16 ? [] : [`${String(loadBit)}bit`]),
    ...(peftType === "hira"
      ? [`r_ab=${String(rank)}`, `init=${initials}`, `train=${trainAb}`]
      : []),
    ...(seed === undefined ? [] : [`seed=${String(seed)}`]),
    expName,
    timeStamp(time),
  ].join("-");
};

/** Runs that may start in the same second before creation gives up. */
const MAX_TRIES = 100;

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

/**
 * Makes `outputFolder` (with its parents) and in it a new folder named by {@link runFolderName}; resolves to its path.
 *
 * The folder is this run's alone: if another run of the same options began in the same second, the next free second
 * is taken for the name.
 * @throws {UserError} if a folder cannot be made or written
 */
export const createRunFolder = async (
  outputFolder: string,
  options: RunFolderOptions,
  now: Date,
): Promise<string> => {
  await requireWritableFolder(outputFolder);
  for (let later = 0; later < MAX_TRIES; later++) {
    const folder = join(
      outputFolder,
      runFolderName(options, new Date(now.getTime() + 1000 * later)),
    );
    try {
      // An exp_name with "/" makes folders in between, as it does in the original.
      if (options.expName.includes("/")) await makeFolder(join(folder, ".."));
      await mkdir(folder);
      return folder;
    } catch (error) {
      if (hasCode(error, "EEXIST")) continue;
      throw new UserError(
        `Cannot make the run folder ${folder}: ${messageOf(error)}`,
        "Choose another --output_folder, or a shorter --exp_name",
      );
    }
  }
  throw new UserError(
    `Cannot make a run folder in ${outputFolder}: found ${String(MAX_TRIES)} runs of the same options and time, expected a free name`,
    "Give the runs different values of --exp_name",
  );
};

/**
 * The folders in `outputFolder` that {@link createRunFolder} has made for runs of these options, whatever their time; the
 * newest first.
 */
export const findRunFolders = async (
  outputFolder: string,
  options: RunFolderOptions,
): Promise<string[]> => {
  const anyTime = join(outputFolder, runFolderName(options, new Date(0)));
  const parent = dirname(anyTime);
  const start = basename(anyTime).slice(0, -timeStamp(new Date(0)).length);
  const names = await readdir(parent).catch((): string[] => []);
  return names
    .filter((name) => name.startsWith(start) && /^\d{4}(-\d\d){5}$/.test(name.slice(start.length)))
    .sort()
    .reverse()
    .map((name) => join(parent, name));
};
