import { existsSync } from "node:fs";
import { realpath, rename } from "node:fs/promises";
import { resolve } from "node:path";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { loadSplit } from "../datasets/load-split.js";
import type { AnsweredSet, OwnDataset } from "../datasets/own-answers.js";
import { readRecords } from "../datasets/read-records.js";
import { readOutputHeader, readOutputJsonl } from "../report/output-jsonl.js";
import type { ProgressUi } from "../report/progress.js";
import type { PredictionSettings } from "./prediction-settings.js";

type Asked = Pick<PredictionSettings, "compat" | "dataDir" | "datasetRatio" | "limit" | "useInput">;

/**
 * How many rows of a set are asked for; undefined where its data cannot be read.
 *
 * Without them nobody can say that a file lacks a row, so an evaluated run is shown without its data, too.
 */
const countAsked = async (dataset: AnsweredSet, settings: Asked): Promise<number | undefined> => {
  try {
    if (dataset.kind === "file") {
      const { records } = await readRecords(dataset.path);
      return Math.min(records.length, settings.limit ?? Infinity);
    }
    const root = await resolveDataRoot({ dataDir: settings.dataDir });
    const { datasetRatio: ratio, useInput, compat, limit } = settings;
    const { rows } = await loadSplit(dataset, "test", { root, ratio, useInput, compat });
    return Math.min(rows.length, limit ?? Infinity);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
};

/**
 * Whether a file of answers is there and has all rows that are asked for; says so, or why it is answered again.
 *
 * A file of fewer rows, which a run with --limit or --dataset_ratio has left, is answered again as a whole, so that it ends up
 * as if the smaller run had never been. A file that is no file of answers is put aside under its name and `.torn`.
 */
export const isAnswered = async (
  path: string,
  dataset: AnsweredSet,
  settings: Asked,
  ui: ProgressUi,
): Promise<boolean> => {
  if (!existsSync(path)) return false;
  const asked = await countAsked(dataset, settings);
  const found = await readOutputJsonl(path).then(
    ({ rows }) => rows.length,
    (error: unknown) => {
      if (error instanceof UserError) return error;
      throw error;
    },
  );
  if (found instanceof UserError) {
    await rename(path, `${path}.torn`);
    ui.warn(`${found.message}. Put aside as ${path}.torn; the set is answered again`);
    return false;
  }
  if (asked === undefined || found >= asked) {
    const more = asked !== undefined && found > asked ? ` It has ${String(found)} rows.` : "";
    ui.line(`${path}: File exists, skipped.${more}`);
    return true;
  }
  ui.line(
    `${path}: File exists with ${String(found)} of ${String(asked)} rows, answering all of them.`,
  );
  return false;
};

/**
 * @throws {UserError} if a file holds the answers of something else than `ckpt`, as far as can be seen from here: two models of one
 *   name would share it
 */
export const requireAnswersOf = async (ckpt: string, path: string): Promise<void> => {
  if (!existsSync(path)) return;
  const header = await readOutputHeader(path).catch(() => undefined);
  const recorded = header?.flags.ckpt;
  if (typeof recorded !== "string") return;
  const [found, asked] = await Promise.all(
    [recorded, ckpt].map((folder) => realpath(folder).catch(() => undefined)),
  );
  if (found === undefined || asked === undefined || found === asked) return;
  throw new UserError(
    `Cannot answer into ${path}: found the answers of ${recorded}, expected those of ${ckpt}`,
    "Give these an --output_folder of their own, or move the file away",
  );
};

/** What `load` makes of each set, in order. @throws {UserError} with the faults of all sets, before any is worked on */
export const loadAllSets = async <T>(
  datasets: readonly AnsweredSet[],
  load: (dataset: AnsweredSet) => Promise<T>,
): Promise<readonly T[]> => {
  const loaded: T[] = [];
  const faults: UserError[] = [];
  for (const dataset of datasets) {
    try {
      loaded.push(await load(dataset));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      faults.push(error);
    }
  }
  const [first] = faults;
  if (first === undefined) return loaded;
  if (faults.length === 1) throw first;
  throw userErrorOfFaults(
    "Cannot answer these sets",
    faults.map(({ message }) => message.replaceAll("\n", "\n  ")),
    first.hint,
  );
};

/** @throws {UserError} if a file holds the answers to another file of rows, or to a set: files of one name would share it */
export const requireAnswersTo = async (dataset: OwnDataset, path: string): Promise<void> => {
  if (!existsSync(path)) return;
  const header = await readOutputHeader(path).catch(() => undefined);
  const recorded = header?.flags.dataset;
  if (typeof recorded !== "string" || resolve(recorded) === resolve(dataset.path)) return;
  throw new UserError(
    `Cannot answer into ${path}: found the answers to ${recorded}, expected those to ${dataset.path}`,
    "Give these an --output_folder of their own, or move the file away",
  );
};
