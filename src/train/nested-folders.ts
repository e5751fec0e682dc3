import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { UserError } from "../core/errors.js";
import { isJsonObject } from "../core/json.js";
import { checkpointStep } from "./trainer-state.js";

const shown = 8;

const listed = (names: readonly string[]): string =>
  `${names.slice(0, shown).join(", ")}${names.length > shown ? ` and ${String(names.length - shown)} more` : ""}`;

const isAdapterOrModel = (folder: string): boolean =>
  ["adapter_config.json", "config.json"].some((name) => existsSync(join(folder, name)));

/** The checkpoint that the newest trainer_state.json calls the best, by its name; undefined where it names none that is there. */
const bestOf = async (folder: string, names: readonly string[]): Promise<string | undefined> => {
  const newest = names.at(-1) ?? "";
  const text = await readFile(join(folder, newest, "trainer_state.json"), "utf8").catch(() => "");
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    return undefined;
  }
  const best = isJsonObject(state) ? state.best_model_checkpoint : undefined;
  const name = typeof best === "string" ? basename(best) : undefined;
  return name !== undefined && names.includes(name) ? name : undefined;
};

/**
 * Says what to give in place of a folder that only holds what could be given: the output folder of transformers' Trainer with
 * its checkpoints, or a folder of runs; undefined for any other folder.
 *
 * @param names what lies in `folder`
 */
export const faultOfOuterFolder = async (
  folder: string,
  names: readonly string[],
): Promise<UserError | undefined> => {
  const checkpoints = names
    .filter((name) => checkpointStep(name) !== undefined && isAdapterOrModel(join(folder, name)))
    .sort((a, b) => (checkpointStep(a) ?? 0) - (checkpointStep(b) ?? 0));
  const ours = ["run.json", "output.jsonl"].some((name) => names.includes(name));
  const isComplete = (name: string): boolean => existsSync(join(folder, name, "complete.json"));
  if (!ours && checkpoints.length > 0 && !checkpoints.some(isComplete)) {
    const best = await bestOf(folder, checkpoints);
    const advised = best ?? checkpoints.at(-1) ?? "";
    return new UserError(
      `Cannot load ${folder}: found the output folder of transformers' Trainer with ${listed(checkpoints)}, expected one of its checkpoints`,
      `Give one of them: --ckpt=${join(folder, advised)} (${best === undefined ? "the newest" : "the best by trainer_state.json"})`,
    );
  }
  const runs = names.filter((name) => existsSync(join(folder, name, "run.json")));
  if (!ours && checkpoints.length === 0 && runs.length > 0)
    return new UserError(
      `Cannot load ${folder}: found a folder of ${String(runs.length)} runs, expected one run: ${listed(runs)}`,
      `Give one of them: --ckpt=${join(folder, runs.at(-1) ?? "")}`,
    );
  return undefined;
};
