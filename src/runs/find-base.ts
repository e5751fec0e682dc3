import { existsSync } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { UserError } from "../core/errors.js";
import { hashFile } from "../core/file-hash.js";
import { readJsonObject, type JsonObject } from "../core/json-file.js";
import type { HubUi } from "../models/hub/fetch-snapshot.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { hubNameOfSnapshot, hubNameText, parseHubName } from "../models/hub/hub-name.js";
import { loadModelFolder, numbersOfConfig, type ModelFolder } from "../models/model-folder.js";
import { isModelPath, modelFile } from "../models/model-files.js";
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

/** The files that decide a model's numbers. */
const isDecisive = (name: string): boolean =>
  name === "config.json" || /\.(?:safetensors|gguf)$/i.test(name);

const realPathOf = (path: string): Promise<string | undefined> =>
  realpath(path).catch(() => undefined);

const saysTheSame = async (path: string, recorded: JsonObject | undefined): Promise<boolean> =>
  recorded !== undefined &&
  numbersOfConfig(await readJsonObject(path), path) === numbersOfConfig(recorded, "run.json");

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
    const file = modelFile(path, name);
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
  if (JSON.stringify(a.model) !== JSON.stringify(b.model) || shapesOf(a) !== shapesOf(b))
    return false;
  if (!values) return true;
  if (a.files.join() !== b.files.join()) return false;
  for (const name of a.files.filter(isDecisive)) {
    const [left, right] = [modelFile(a.path, name), modelFile(b.path, name)] as const;
    if ((await stat(left)).size !== (await stat(right)).size) return false;
    if ((await hashFile(left)).sha256 !== (await hashFile(right)).sha256) return false;
  }
  return true;
};

/** Where a recorded folder may be now: beside the run or the adapter, in the working folder, where a run's output folder lay. */
const placesOf = (recorded: string, anchor: string): readonly string[] => {
  if (isAbsolute(recorded)) return [recorded];
  // A folder has no revision.
  const names = [...new Set([recorded, parseHubName(recorded)?.repo ?? recorded])];
  return names.flatMap((name) => [
    join(dirname(anchor), name),
    join(anchor, name),
    name,
    join(dirname(dirname(anchor)), name),
  ]);
};

/** The first of `places` that holds a model, else the first that is there. */
const firstModel = (places: readonly string[]): string | undefined =>
  places.find(isModelPath) ?? places.find((place) => existsSync(place));

const notFound = (
  { folder, run }: TrainedFolder,
  recorded: string,
  places: readonly string[],
): UserError =>
  new UserError(
    `Cannot find the base model of ${run?.folder ?? folder}: found no folder "${recorded}"${places.length > 1 ? ` beside it or in ${process.cwd()}` : ""}, expected the model that it was trained on`,
    whereHint,
  );

const whereHint = "--model=FOLDER says where it is";

/** The base that a name on the Hub stands for; undefined where it is a path alone. @throws {UserError} if the Hub does not have it */
const onHub = async (
  { folder, run }: TrainedFolder,
  name: string,
  ui: HubUi,
): Promise<string | undefined> => {
  try {
    const path = await findOnHub(name, { purpose: "model", ui });
    return path === name ? undefined : path;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `Cannot find the base model of ${run?.folder ?? folder}: ${error.message}`,
      error.hint === undefined ? whereHint : `${error.hint}\n${whereHint}`,
    );
  }
};

/** The recorded base of a run, which must be what it was. */
const recordedBaseOfRun = async (
  trained: TrainedFolder,
  recorded: string,
  model: RecordedModel | undefined,
  ui: HubUi,
): Promise<FoundBase> => {
  const anchor = trained.run?.folder ?? trained.folder;
  const places = [
    ...placesOf(recorded, anchor),
    ...(model?.folder === undefined ? [] : [model.folder]),
  ];
  if (!model) {
    const path = firstModel(places) ?? (await onHub(trained, recorded, ui));
    if (path === undefined) throw notFound(trained, recorded, places);
    return { path };
  }
  let fault: string | undefined;
  const judge = async (path: string): Promise<FoundBase | undefined> => {
    const changed = await changedFiles(path, model);
    if (changed.length === 0) return { path };
    fault ??= otherModel(path, changed, recorded);
    return undefined;
  };
  for (const path of new Set(places.filter(isModelPath))) {
    const found = await judge(path);
    if (found) return found;
  }
  // Only a model that was the Hub's is asked for there: a folder that is gone is nobody else's business.
  const snapshot = model.folder === undefined ? undefined : hubNameOfSnapshot(model.folder);
  if (fault === undefined && snapshot) {
    const path = await onHub(trained, hubNameText(snapshot), ui);
    const found = path === undefined ? undefined : await judge(path);
    if (found) return found;
  }
  if (fault === undefined) throw notFound(trained, recorded, places);
  return { fault };
};

const otherModel = (path: string, changed: readonly string[], recorded: string): string =>
  `found ${path}, whose ${changed.slice(0, 4).join(", ")}${changed.length > 4 ? ", ..." : ""} ${changed.length === 1 ? "is another" : "are others"}, expected ${JSON.stringify(recorded)} as it was in the run`;

/**
 * The base model's folder. For a run it must be the model that the run was trained on, wherever it is now: the hashes in
 * run.json tell, or, for a run without that file, a comparison with the model that it names. For any other adapter the one
 * that is `given` counts, else the one that its config names. Names on the Hub stand for what findOnHub finds.
 *
 * @param named the folder, or the model on the Hub, that somebody has named; no default
 * @throws {UserError} if there is none
 */
export const findBase = async (
  trained: TrainedFolder,
  named: string | undefined,
  ui: HubUi,
): Promise<FoundBase> => {
  const { run, holds, folder } = trained;
  const findNamed = (name: string): Promise<string> => findOnHub(name, { purpose: "model", ui });
  if (!run) {
    if (named !== undefined) {
      const given = await findNamed(named);
      const isOther =
        holds === "trained model" &&
        isModelPath(given) &&
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
    const path = firstModel(places) ?? (await onHub(trained, recorded, ui));
    if (path === undefined) throw notFound(trained, recorded, places);
    return { path };
  }
  const recorded = textOf(run.flags.model_name) ?? "";
  const model = await readRecordedModel(run.folder);
  if (named === undefined || (named === recorded && !isModelPath(named)))
    return recordedBaseOfRun(trained, recorded, model, ui);
  const given = await findNamed(named);
  // What is no model is told by whoever loads it.
  if (!isModelPath(given)) return { path: given };
  if (model) {
    const changed = await changedFiles(given, model);
    return changed.length === 0
      ? { path: given }
      : { fault: otherModel(given, changed, model.folder ?? recorded) };
  }
  const known = placesOf(recorded, run.folder).find(isModelPath);
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
