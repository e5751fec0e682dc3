import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { contentHash } from "../core/content-hash.js";
import { UserError } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { readJsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import { median } from "../core/median.js";
import { readMetrics, type StepMetrics } from "../report/metrics.js";
import { readOutputHeader } from "../report/output-jsonl.js";
import { readRunFlags } from "../report/run-json.js";
import { readSweepState, sweepStateName, type SweepState } from "../report/sweep-state.js";
import { isCommonsenseName } from "../score/commonsense.js";
import { describeLeftOut, findRuns, type LeftOut } from "../score/find-runs.js";
import { commonsenseScore, groupRuns, scoreAnswers, type RunScore } from "../score/score-files.js";
import { mainFiguresOf, type MainFigure } from "../score/main-figures.js";
import { readAnswers } from "../score/read-answers.js";
import { isScoredSet, scorerNameOf, setOfFileName, type ScoredSet } from "../score/sets.js";
import { pickCheckpoint } from "../train/checkpoint-folder.js";

/** What two runs must share if their numbers are to be compared, by the words of a warning. */
export const conditionNames = [
  "model",
  "data",
  "seed",
  "batch",
  "steps",
  "device",
  "precision",
  "mask and other --compat",
] as const;

/** A condition that compared runs must share. */
export type ConditionName = (typeof conditionNames)[number];

/** What the answers to a set amount to. */
export interface SetFigures {
  readonly set: string;
  readonly figures: readonly MainFigure[];
}

/** What a run's folder says of it. Whatever a run has not written is undefined. */
export interface RunSummary {
  readonly folder: string;
  readonly name: string;
  /** --peft_type */
  readonly method: string | undefined;
  /** Whether output.jsonl, which a run writes last, is there. */
  readonly finished: boolean;
  readonly parameters: { readonly trainable: number; readonly all: number } | undefined;
  /** The lowest validation loss. */
  readonly best: { readonly step: number; readonly loss: number } | undefined;
  /** Answers to the commonsense sets, the decoding with the most sets. */
  readonly accuracy: RunScore | undefined;
  /** The main figures of the answers to other sets: the run's own, and those answered afterwards; the first file of each set. */
  readonly figures: readonly SetFigures[];
  /** Other decodings of the same sets that were scored, by the first of their files. */
  readonly otherAnswers: readonly string[];
  readonly steps: number | undefined;
  readonly medianStepMs: number | undefined;
  /** Real tokens of all steps over the time of all steps. */
  readonly tokensPerSecond: number | undefined;
  /** The most physical memory of the training process, with the pages of the model's files that it has touched. */
  readonly peakMemoryBytes: number | undefined;
  /** The trained weights of the best checkpoint. */
  readonly adapterBytes: number | undefined;
  readonly conditions: Readonly<Partial<Record<ConditionName, string>>>;
  /** The flags that the run has recorded, by their names. */
  readonly flags: JsonObject;
  /** Where the run is one of a sweep: the sweep's folder, and the sweep's own name for the run. */
  readonly sweep: { readonly folder: string; readonly name: string } | undefined;
}

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

const sumOf = (rows: readonly StepMetrics[], field: "tokens" | "stepMs"): number =>
  rows.reduce((sum, row) => sum + row[field], 0);

const readSteps = async (
  folder: string,
): Promise<Pick<RunSummary, "steps" | "medianStepMs" | "tokensPerSecond" | "peakMemoryBytes">> => {
  const path = join(folder, "metrics.jsonl");
  const rows = existsSync(path) ? await readMetrics(path) : [];
  const peaks = rows.flatMap(({ peakMemoryBytes }) => peakMemoryBytes ?? []);
  return {
    steps: rows.at(-1)?.step,
    medianStepMs: rows.length === 0 ? undefined : median(rows.map(({ stepMs }) => stepMs)),
    tokensPerSecond:
      rows.length === 0 ? undefined : (1000 * sumOf(rows, "tokens")) / sumOf(rows, "stepMs"),
    peakMemoryBytes: peaks.length === 0 ? undefined : peaks.reduce((a, b) => Math.max(a, b)),
  };
};

const readBest = async (folder: string): Promise<RunSummary["best"]> => {
  const path = join(folder, "best.json");
  if (!existsSync(path)) return undefined;
  const { step, eval_loss: loss } = await readJsonObject(path);
  return typeof step === "number" && typeof loss === "number" ? { step, loss } : undefined;
};

/** Files of the trained weights, beside which a checkpoint has the optimizer, an encoder and masks. */
const weightFile = /^(?:adapter_model|model(?:-\d+-of-\d+)?)\.safetensors$/;

const readAdapterBytes = async (folder: string): Promise<number | undefined> => {
  let best: string;
  try {
    best = (await pickCheckpoint(folder, -1)).best.folder;
  } catch (error) {
    // A run that has saved nothing yet is no fault of the comparison.
    if (error instanceof UserError) return undefined;
    throw error;
  }
  const files = (await readdir(best)).filter((name) => weightFile.test(name));
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(best, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
};

/** The answers in a run's folder: its evaluation files, else output.jsonl where the run's own set can be scored. */
const readAccuracy = async (
  folder: string,
  flags: JsonObject,
): Promise<Pick<RunSummary, "accuracy" | "otherAnswers">> => {
  const names = (await readdir(folder)).sort();
  const answers = names.filter(
    (name) => name.endsWith("_eval.jsonl") && isCommonsenseName(setOfFileName(name)),
  );
  const own = names.includes("output.jsonl") && isCommonsenseName(flags.dataset);
  const files = answers.length > 0 ? answers : own ? ["output.jsonl"] : [];
  const scores = [];
  for (const name of files) {
    const score = commonsenseScore(await scoreAnswers(join(folder, name)));
    if (score) scores.push(score);
  }
  const groups = [...groupRuns(scores)].sort((a, b) => b.average.sets - a.average.sets);
  return {
    accuracy: groups[0],
    otherAnswers: groups.slice(1).map(({ model }) => basename(model)),
  };
};

/** The main figures of a run's answers to sets that are no commonsense ones. */
const readFigures = async (folder: string, flags: JsonObject): Promise<readonly SetFigures[]> => {
  const names = (await readdir(folder)).sort();
  const files = new Map<ScoredSet, string>();
  for (const name of names) {
    const set = name.endsWith("_eval.jsonl") ? setOfFileName(name) : undefined;
    if (set !== undefined && !isCommonsenseName(set) && !files.has(set)) files.set(set, name);
  }
  const { dataset, data_dir: dataDir } = flags;
  if (isScoredSet(dataset) && !isCommonsenseName(dataset) && !files.has(dataset))
    if (names.includes("output.jsonl")) files.set(dataset, "output.jsonl");
  const found: SetFigures[] = [];
  for (const [set, name] of files) {
    const { answers } = await readAnswers(join(folder, name));
    if (answers.length === 0) continue;
    const root = typeof dataDir === "string" ? dataDir : undefined;
    const options = { set, compat: new Set<never>(), dataDir: root };
    found.push({ set, figures: await mainFiguresOf(scorerNameOf(set), answers, options) });
  }
  return found;
};

const shortHash = (value: unknown): string => contentHash([JSON.stringify(value)]).slice(0, 8);

/** SHA-256 sums of the files in a part of run.json, in the order of their names. */
const hashesOf = (value: unknown): readonly unknown[] | undefined =>
  isJsonObject(value)
    ? Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([, file]) => (isJsonObject(file) ? file.sha256 : file))
    : undefined;

const conditionsOf = (
  json: JsonObject | undefined,
  flags: JsonObject,
  steps: number | undefined,
): RunSummary["conditions"] => {
  const model = isJsonObject(json?.model) ? json.model : {};
  const device = isJsonObject(json?.device) ? json.device : {};
  const modelHashes = hashesOf(model.sha256);
  const dataHashes = hashesOf(json?.data);
  const seeds = isJsonObject(json?.seeds) ? Object.values(json.seeds).map(String) : [];
  const text = (name: string): string => {
    const value = flags[name];
    return typeof value === "string" || typeof value === "number" ? String(value) : "";
  };
  const has = (...names: readonly string[]): boolean => names.every((name) => name in flags);
  const found: Readonly<Record<ConditionName, string | undefined>> = {
    model: modelHashes && `${basename(textOf(flags.model_name) ?? "")} ${shortHash(modelHashes)}`,
    // The first rows of a file are other data than all of it.
    data:
      dataHashes &&
      `${basename(text("dataset"))} ${shortHash([dataHashes, flags.dataset_ratio ?? 1])}${flags.shuffle === false ? " in the file's order" : ""}`,
    seed: seeds.length > 0 ? [...new Set(seeds)].join(" and ") : textOf(text("seed")),
    batch: has("batch", "grad_acc") ? `${text("batch")} x ${text("grad_acc")}` : undefined,
    steps: steps === undefined ? undefined : String(steps),
    device:
      textOf(device.name) ?? (has("device") ? text("device").replace("auto", "cpu") : undefined),
    // A --ds_config may have set it.
    precision:
      textOf(device.precision) ??
      (has("precision") ? (textOf(flags.precision) ?? "fp32") : undefined),
    "mask and other --compat": has("compat")
      ? text("compat")
          .split(",")
          .map((name) => name.trim())
          .sort()
          .join(",") || "ours"
      : undefined,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
};

/** The sweep that knows the run's folder as that of one of its runs, with these runs' settings. */
const readSweep = async (folder: string): Promise<RunSummary["sweep"]> => {
  // Its folder holds one a run, and that the run's own; an --exp_name with "/" puts others in between.
  for (let above = dirname(folder); above !== dirname(above); above = dirname(above)) {
    const path = join(above, sweepStateName);
    if (!existsSync(path)) continue;
    const state = await readSweepState(path).catch((): SweepState => new Map());
    const inSweep = relative(above, folder);
    for (const [name, { runFolder }] of state)
      if (runFolder === inSweep) return { folder: above, name };
    return undefined;
  }
  return undefined;
};

const readRun = async (path: string): Promise<RunSummary> => {
  const folder = resolve(path);
  const recorded = join(folder, "run.json");
  const json = existsSync(recorded) ? await readJsonObject(recorded) : undefined;
  const flags = isJsonObject(json?.flags) ? json.flags : await readRunFlags(folder);
  const output = join(folder, "output.jsonl");
  const finished = existsSync(output);
  const steps = await readSteps(folder);
  return {
    folder,
    name: basename(folder),
    method: textOf(flags.peft_type),
    finished,
    parameters: finished ? (await readOutputHeader(output)).parameters : undefined,
    best: await readBest(folder),
    ...(await readAccuracy(folder, flags)),
    figures: await readFigures(folder, flags),
    ...steps,
    adapterBytes: await readAdapterBytes(folder),
    conditions: conditionsOf(json, flags, steps.steps),
    flags,
    sweep: await readSweep(folder),
  };
};

/** What a comparison is over, and what is not in it. */
export interface RunsRead {
  readonly runs: readonly RunSummary[];
  readonly leftOut: readonly LeftOut[];
}

/**
 * Reads the runs among the given paths, in the order given; see findRuns. A run that has not made a step yet, and one with a
 * broken file, is left out.
 *
 * @throws {UserError} if no run is left
 */
export const readRuns = async (paths: readonly string[]): Promise<RunsRead> => {
  const { folders, leftOut } = await findRuns(paths);
  const runs: RunSummary[] = [];
  const unread: LeftOut[] = [];
  for (const folder of folders) {
    try {
      const run = await readRun(folder);
      const hasFigures = run.finished || run.steps !== undefined || run.best !== undefined;
      if (hasFigures) runs.push(run);
      else unread.push({ path: folder, reason: "not finished, no step yet" });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      unread.push({ path: folder, reason: error.message });
    }
  }
  const all = [...leftOut, ...unread];
  if (runs.length === 0)
    throw new UserError(
      `Cannot compare runs: found ${describeLeftOut(all)}, expected the folder of a run, which holds run.json or output.jsonl`,
      "Name the runs' own folders, as they were printed when the runs began, or a folder that holds them: hira compare results_hira",
    );
  return { runs, leftOut: all };
};
