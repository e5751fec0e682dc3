import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../core/errors.js";
import type { Compat } from "../core/compat.js";
import { hubNameOfSnapshot } from "../models/hub/hub-name.js";
import { modelNameOf } from "../report/run-folder.js";
import { resolveCheckpoint, type ResolvedFolder } from "../train/checkpoint-folder.js";

/** What decides where the answers of --ckpt go. */
export interface AnswersPlaceOptions {
  readonly ckpt: string;
  /** --output_folder. */
  readonly outputFolder: string;
  /** Whether somebody wrote it on the command line: only then the answers of what was trained go there. */
  readonly outputFolderIsAsked: boolean;
  /** --output_file: the answers of one set. */
  readonly outputFile: string | undefined;
  readonly compat: Compat;
}

/** Where the answers of --ckpt go. */
export interface AnswersPlace {
  readonly folder: string;
  /** Whether that is another folder than what was evaluated. */
  readonly isElsewhere: boolean;
  /** The file for answers that would be called `name`. */
  fileOf(name: string): string;
}

/** What --ckpt is; undefined where nothing can be loaded from it, which is for opening it to say. */
const kindOf = async (ckpt: string): Promise<ResolvedFolder | undefined> => {
  try {
    return await resolveCheckpoint(ckpt);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
};

const isOfHub = (ckpt: string): boolean => hubNameOfSnapshot(resolve(ckpt)) !== undefined;

/** A name for the answers of --ckpt, below which a checkpoint's stand apart from its run's. */
const nameOf = (ckpt: string, found: ResolvedFolder | undefined): string => {
  if (found?.kind === "model" || isOfHub(ckpt)) return modelNameOf(ckpt);
  const own = basename(resolve(ckpt));
  return found?.kind === "checkpoint" && found.runFolder !== undefined
    ? join(basename(found.runFolder), own)
    : own;
};

/**
 * Where the answers of --ckpt go: into --output_file, else below an --output_folder that somebody asked for, else beside what was
 * trained, as in the original. A plain model's folder and the Hub's cache are not written into: their answers stand below --output_folder, whether asked for or not.
 *
 * compat "names": always beside what is evaluated, but in the Hub's cache.
 * Source: the --ckpt branch of train_hira.py, where --output_folder counts in training alone.
 */
export const placeOfAnswers = async ({
  ckpt,
  outputFolder,
  outputFolderIsAsked,
  outputFile,
  compat,
}: AnswersPlaceOptions): Promise<AnswersPlace> => {
  if (outputFile !== undefined)
    return { folder: dirname(outputFile), isElsewhere: true, fileOf: () => outputFile };
  const found = await kindOf(ckpt);
  const isElsewhere =
    isOfHub(ckpt) || (!compat.has("names") && (outputFolderIsAsked || found?.kind === "model"));
  const folder = isElsewhere ? join(outputFolder, nameOf(ckpt, found)) : ckpt;
  return { folder, isElsewhere, fileOf: (name) => join(folder, name) };
};
