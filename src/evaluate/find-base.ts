import { existsSync } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { UserError } from "../core/errors.js";
import { hashFile } from "../core/file-hash.js";
import { readJsonObject, type JsonObject } from "../core/json-file.js";
import {
  downloadHint,
  loadModelFolder,
  parseConfig,
  type ModelFolder,
} from "../models/model-folder.js";
import { readAdapterConfig } from "../peft/adapter-files.js";
import { readRecordedModel, type RecordedModel } from "../report/run-json.js";

/** A folder of trained weights. */
export interface TrainedFolder {
  /** An adapter, the model that full fine-tuning has made, or a plain model on which nothing was trained. */
  readonly holds: "adapter" | "trained model" | "plain model";
  readonly folder: string;
  /** The run that trained it; undefined for a peft adapter and a plain model. */
  readonly run: TrainedBy | undefined;
}

/** The run that trained a checkpoint. */
export interface TrainedBy {
  readonly folder: string;
  readonly flags: JsonObject;
}

/** Where a base model is, or what is wrong with the one that was named: `found <this>, expected <that>`. */
export type FoundBase = { readonly path: string } | { readonly fault: string };

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

const isModel = (path: string): boolean => existsSync(join(path, "config.json"));

/** The files that decide a model's numbers. */
const isDecisive = (name: string): boolean =>
  name === "config.json" || name.endsWith(".safetensors");

const realPathOf = (path: string): Promise<string | undefined> =>
  realpath(path).catch(() => undefined);

/** What a config says of a model's numbers: not how the file is laid out, nor which tokens begin, end and fill texts. */
const numbersOf = (raw: JsonObject, where: string): string =>
  JSON.stringify({
    ...parseConfig(raw, where),
    bosId: undefined,
    eosIds: undefined,
    padId: undefined,
  });

const saysTheSame = async (path: string, recorded: JsonObject | undefined): Promise<boolean> =>
  recorded !== undefined &&
  numbersOf(await readJsonObject(path), path) === numbersOf(recorded, "run.json");

/**
 * The files of a folder that are not those of a run's base model, by their hashes; all of them are read.
 *
 * In the very folder that the run has used, a file that nobody has touched since it began counts as unchanged: so evaluating
 * need not read all weights twice.
 */
const changedFiles = async (
  path: string,
  { folder, sha256, config, startedAt }: RecordedModel,
): Promise<readonly string[]> => {
  const real = await realPathOf(path);
  const isItsOwn = folder !== undefined && real === (await realPathOf(folder));
  const changed: string[] = [];
  for (const [name, expected] of Object.entries(sha256)) {
    if (!isDecisive(name)) continue;
    const file = join(path, name);
    const stats = await stat(file).catch(() => undefined);
    if (isItsOwn && stats !== undefined && stats.ctime < startedAt) continue;
    const isSame =
      stats !== undefined &&
      ((await hashFile(file)).sha256 === expected ||
        (name === "config.json" && (await saysTheSame(file, config))));
    if (!isSame) changed.push(name);
  }
  return changed;
};

const shapesOf = ({ weights }: ModelFolder): string =>
  JSON.stringify([...weights].map(([name, { shape }]) => [name, shape]).sort());

/** Whether two folders hold one model: config, shapes and, with `values`, the weights' files. */
const areSameModel = async (
  paths: readonly [string, string],
  { values }: { readonly values: boolean },
): Promise<boolean> => {
  const [a, b] = await Promise.all(paths.map(loadModelFolder));
  if (!a || !b) return false;
  if (JSON.stringify(a.config) !== JSON.stringify(b.config) || shapesOf(a) !== shapesOf(b))
    return false;
  if (!values) return true;
  if (a.files.join() !== b.files.join()) return false;
  for (const name of a.files.filter(isDecisive)) {
    const [left, right] = [join(a.path, name), join(b.path, name)] as const;
    if ((await stat(left)).size !== (await stat(right)).size) return false;
    if ((await hashFile(left)).sha256 !== (await hashFile(right)).sha256) return false;
  }
  return true;
};

/** Where a recorded folder may be now: beside the run or the adapter, in the working folder, where a run's output folder lay. */
const placesOf = (recorded: string, anchor: string): readonly string[] =>
  isAbsolute(recorded)
    ? [recorded]
    : [
        join(dirname(anchor), recorded),
        join(anchor, recorded),
        recorded,
        join(dirname(dirname(anchor)), recorded),
      ];

/** The first of `places` that holds a model, else the first that is there. */
const firstModel = (places: readonly string[]): string | undefined =>
  places.find(isModel) ?? places.find((place) => existsSync(place));

const notFound = (
  { folder, run }: TrainedFolder,
  recorded: string,
  places: readonly string[],
): UserError =>
  new UserError(
    `Cannot find the base model of ${run?.folder ?? folder}: found no folder "${recorded}"${places.length > 1 ? ` beside it or in ${process.cwd()}` : ""}, expected the model that it was trained on`,
    `${/^[\w.-]+\/[\w.-]+$/.test(recorded) ? `${downloadHint(recorded)}; ` : ""}--model=FOLDER says where it is`,
  );

/** The recorded base of a run, which must be what it was. */
const recordedBaseOfRun = async (
  trained: TrainedFolder,
  recorded: string,
  model: RecordedModel | undefined,
): Promise<FoundBase> => {
  const anchor = trained.run?.folder ?? trained.folder;
  const places = [
    ...placesOf(recorded, anchor),
    ...(model?.folder === undefined ? [] : [model.folder]),
  ];
  if (!model) {
    const path = firstModel(places);
    if (path === undefined) throw notFound(trained, recorded, places);
    return { path };
  }
  let fault: string | undefined;
  for (const path of new Set(places.filter(isModel))) {
    const changed = await changedFiles(path, model);
    if (changed.length === 0) return { path };
    fault ??= otherModel(path, changed, recorded);
  }
  if (fault === undefined) throw notFound(trained, recorded, places);
  return { fault };
};

const otherModel = (path: string, changed: readonly string[], recorded: string): string =>
  `found ${path}, whose ${changed.slice(0, 4).join(", ")}${changed.length > 4 ? ", ..." : ""} ${changed.length === 1 ? "is another" : "are others"}, expected ${JSON.stringify(recorded)} as it was in the run`;

/**
 * The base model's folder. For a run it must be the model that the run was trained on, wherever it is now: the hashes in
 * run.json tell, or, for a run without that file, a comparison with the model that it names. For any other adapter the one
 * that is `given` counts, else the one that its config names.
 *
 * @param given the folder that somebody has named; no default
 * @throws {UserError} if there is none
 */
export const findBase = async (
  trained: TrainedFolder,
  given: string | undefined,
): Promise<FoundBase> => {
  const { run, holds, folder } = trained;
  if (!run) {
    if (given !== undefined) {
      const isOther =
        holds === "trained model" &&
        isModel(given) &&
        !(await areSameModel([given, folder], { values: false }));
      return isOther
        ? { fault: `found ${given}, a model of other shapes, expected the one that was fine-tuned` }
        : { path: given };
    }
    const recorded = holds === "adapter" ? (await readAdapterConfig(folder)).baseModel : undefined;
    if (recorded === undefined)
      throw new UserError(
        `Cannot find the base model of ${folder}: found no name of it in its files, expected one`,
        "Give the base model's folder with --model",
      );
    const places = placesOf(recorded, folder);
    const path = firstModel(places);
    if (path === undefined) throw notFound(trained, recorded, places);
    return { path };
  }
  const recorded = textOf(run.flags.model_name) ?? "";
  const model = await readRecordedModel(run.folder);
  if (given === undefined || (given === recorded && !isModel(given)))
    return recordedBaseOfRun(trained, recorded, model);
  // What is no model is told by whoever loads it.
  if (!isModel(given)) return { path: given };
  if (model) {
    const changed = await changedFiles(given, model);
    return changed.length === 0
      ? { path: given }
      : { fault: otherModel(given, changed, model.folder ?? recorded) };
  }
  const known = placesOf(recorded, run.folder).find(isModel);
  const reference = known ?? (holds === "trained model" ? folder : undefined);
  if (reference === undefined) return { path: given };
  const isSame =
    (await realPathOf(given)) === (await realPathOf(reference)) ||
    (await areSameModel([given, reference], { values: reference === known }));
  return isSame
    ? { path: given }
    : { fault: `found ${given}, another model, expected ${JSON.stringify(recorded)}` };
};

/** Whether `given` is the very model that `folder` is. @throws {UserError} if one of them is none */
export const isSameModel = async (given: string, folder: string): Promise<boolean> =>
  resolve(given) === resolve(folder) ||
  (await realPathOf(given)) === (await realPathOf(folder)) ||
  areSameModel([given, folder], { values: true });
