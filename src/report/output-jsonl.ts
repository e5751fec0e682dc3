import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { readJsonLines } from "../core/json-lines.js";
import { describeJson, isJsonObject } from "../core/json.js";
import type { PythonValue } from "./python-format.js";
import { PythonFloat, pythonJson, trainablePercent } from "./python-format.js";

/** One decoded row: the bare input, what the model wrote, what the data set has. Nothing is stripped. */
export interface PredictionRow {
  readonly context: string;
  readonly pred: string;
  readonly gt: string;
  /** Further fields of the line, which the original does not have. */
  readonly more?: { readonly [field: string]: PythonValue };
}

/** Line 3: what the run took, or for mmlu the accuracy in percent. */
export type OutputSummary =
  | {
      /** Memory of the device in use, in MiB. */
      readonly memUsedMiB: number;
      /** -1 where nothing was trained (--ckpt). */
      readonly trainSeconds: number;
    }
  | { readonly accuracyPercent: number };

/** What output.jsonl and the evaluation files hold. */
export interface OutputFile {
  /** Line 1: every flag with its effective value, in the order of the original's parser. */
  readonly flags: { readonly [flag: string]: PythonValue | undefined };
  /** Line 2: the adapter's configuration; undefined for fft, where the original writes a line end as JSON text. */
  readonly adapterConfig: { readonly [key: string]: PythonValue | undefined } | undefined;
  readonly summary: OutputSummary;
  /** Line 4. */
  readonly parameters: { readonly trainable: number; readonly all: number };
  readonly rows: Iterable<PredictionRow> | AsyncIterable<PredictionRow>;
}

/** The flags that argparse reads as floats: Python prints 1 as 1.0. */
const floatFlags: ReadonlySet<string> = new Set([
  "dataset_ratio",
  "epoch",
  "lr",
  "weight_decay",
  "eval_steps",
]);

/** The floats of the original's adapter configurations. */
const floatConfigKeys: ReadonlySet<string> = new Set(["lora_dropout", "scale_ab"]);

const withFloats = (
  record: { readonly [key: string]: PythonValue | undefined },
  floats: ReadonlySet<string>,
): PythonValue =>
  Object.fromEntries(
    Object.entries(record).map(([key, value]) => [
      key,
      typeof value === "number" && floats.has(key) ? new PythonFloat(value) : value,
    ]),
  );

const summaryLine = (summary: OutputSummary): PythonValue => {
  if ("accuracyPercent" in summary) return { acc: new PythonFloat(summary.accuracyPercent) };
  const { memUsedMiB, trainSeconds } = summary;
  return {
    mem_used: new PythonFloat(memUsedMiB),
    // The original's -1 is an int, its seconds are a float.
    train_seconds: trainSeconds === -1 ? -1 : new PythonFloat(trainSeconds),
  };
};

/**
 * The HiRA configuration as the original writes it on line 2: it calls itself LORA, and half of it has no effect.
 *
 * Source: LoraConfig of hira/tuners/lora.py and the fields it inherits, in the order of asdict.
 */
export const originalHiraConfig = (options: {
  readonly modelName: string;
  readonly initA: string;
  readonly initB: string;
  readonly randR: boolean;
  readonly rank: number;
  readonly targetModules: readonly string[];
  readonly trainA: boolean;
  readonly trainB: boolean;
}): { readonly [key: string]: PythonValue } => ({
  peft_type: "LORA",
  base_model_name_or_path: options.modelName,
  task_type: "CAUSAL_LM",
  inference_mode: false,
  init_a: options.initA,
  init_b: options.initB,
  rand_R: options.randR,
  r_ab: options.rank,
  target_modules: options.targetModules,
  lora_alpha: 32,
  lora_dropout: 0.05,
  fan_in_fan_out: false,
  bias: "none",
  modules_to_save: null,
  init_lora_weights: true,
  scale_ab: new PythonFloat(1),
  train_a: options.trainA,
  train_b: options.trainB,
});

/**
 * Writes output.jsonl or an evaluation file: four header lines, then a line a row, as Python's jsonlines writes them
 * (", " and ": ", characters outside ASCII as they are).
 *
 * The file appears when it is whole, or not at all.
 * Source: the end of train_hira.py.
 * @throws {UserError} if the file cannot be written
 */
export const writeOutputJsonl = (path: string, output: OutputFile): Promise<void> => {
  const { flags, adapterConfig, summary, parameters, rows } = output;
  const line = (value: PythonValue): Uint8Array =>
    Buffer.from(`${pythonJson(value, { ensureAscii: false })}\n`);
  return writeFileAtomically(
    path,
    (async function* () {
      yield line(withFloats(flags, floatFlags));
      yield line(adapterConfig === undefined ? "\n" : withFloats(adapterConfig, floatConfigKeys));
      yield line(summaryLine(summary));
      const { trainable, all } = parameters;
      const percent = new PythonFloat(trainablePercent(trainable, all));
      yield line({ trainable, all, "trainable%": percent });
      for await (const { context, pred, gt, more } of rows)
        yield line({ context, pred, gt, ...more });
    })(),
  );
};

/** What was read from an output.jsonl, ours or the original's. Flags and configuration are as they stand, unchecked. */
export interface OutputFileRead {
  readonly flags: JsonObject;
  readonly adapterConfig: JsonObject | undefined;
  readonly summary: OutputSummary;
  readonly parameters: { readonly trainable: number; readonly all: number };
  readonly rows: readonly PredictionRow[];
}

const badLine = (path: string, line: number, found: string, expected: string): UserError =>
  new UserError(
    `Cannot read ${path}, line ${String(line)}: found ${found}, expected ${expected}`,
    "The file is not an output.jsonl that hira or train_hira.py has finished",
  );

const objectAt = (
  path: string,
  line: number,
  value: unknown,
  expected: string,
): Record<string, unknown> => {
  if (!isJsonObject(value)) throw badLine(path, line, describeJson(value), expected);
  return value;
};

const numbersAt = <Key extends string>(
  path: string,
  line: number,
  record: JsonObject,
  keys: readonly Key[],
): Record<Key, number> => {
  const faults = keys.filter((key) => typeof record[key] !== "number");
  if (faults.length > 0)
    throw badLine(
      path,
      line,
      `fields ${Object.keys(record).join(", ") || "(none)"}`,
      `numbers in ${faults.join(", ")}`,
    );
  return Object.fromEntries(keys.map((key) => [key, record[key]])) as Record<Key, number>;
};

const readSummary = (path: string, line: number, value: unknown): OutputSummary => {
  const record = objectAt(path, line, value, "what the run took");
  if ("acc" in record) return { accuracyPercent: numbersAt(path, line, record, ["acc"]).acc };
  const numbers = numbersAt(path, line, record, ["mem_used", "train_seconds"]);
  return { memUsedMiB: numbers.mem_used, trainSeconds: numbers.train_seconds };
};

const rowFields = ["context", "pred", "gt"] as const;

const readRow = (value: JsonObject, line: number, faults: string[]): PredictionRow | undefined => {
  const { context, pred, gt } = value;
  if (typeof context === "string" && typeof pred === "string" && typeof gt === "string")
    return { context, pred, gt };
  const wrong = rowFields.filter((field) => typeof value[field] !== "string");
  faults.push(
    `line ${String(line)}: found ${wrong.map((field) => `${describeJson(value[field])} in ${field}`).join(", ")}, expected text`,
  );
  return undefined;
};

const throwRowFaults = (path: string, faults: readonly string[]): void => {
  if (faults.length === 0) return;
  throw userErrorOfFaults(
    `Cannot read ${path}`,
    faults,
    "Each row needs the fields context, pred and gt, all text",
  );
};

/**
 * Line 1 of an output.jsonl: the flags of the run that wrote it. The rest of the file is not looked at.
 *
 * @throws {UserError} if the file cannot be read or its first line is no object
 */
export const readOutputFlags = async (path: string): Promise<JsonObject> => {
  for await (const { line, value } of readJsonLines(path))
    return objectAt(path, line, value, "an object with the run's flags");
  throw badLine(path, 1, "the end of the file", "an object with the run's flags");
};

/** The four lines above the rows. */
export type OutputHeader = Omit<OutputFileRead, "rows">;

interface HeaderLine {
  readonly line: number;
  readonly value: unknown;
}

const parseHeader = (path: string, header: readonly HeaderLine[]): OutputHeader => {
  const [flags, config, summary, parameters] = header;
  if (
    flags === undefined ||
    config === undefined ||
    summary === undefined ||
    parameters === undefined
  )
    throw badLine(
      path,
      (header.at(-1)?.line ?? 0) + 1,
      "the end of the file",
      `${String(4 - header.length)} more header lines`,
    );
  const counts = objectAt(path, parameters.line, parameters.value, "the numbers of parameters");
  return {
    flags: objectAt(path, flags.line, flags.value, "an object with the run's flags"),
    adapterConfig:
      typeof config.value === "string"
        ? undefined
        : objectAt(path, config.line, config.value, "the adapter's configuration"),
    summary: readSummary(path, summary.line, summary.value),
    parameters: numbersAt(path, parameters.line, counts, ["trainable", "all"]),
  };
};

/** The header of an output.jsonl or evaluation file; its rows are not looked at. @throws {UserError} as readOutputJsonl */
export const readOutputHeader = async (path: string): Promise<OutputHeader> => {
  const header: HeaderLine[] = [];
  for await (const { line, value } of readJsonLines(path)) {
    header.push({ line, value });
    if (header.length === 4) break;
  }
  return parseHeader(path, header);
};

/**
 * Reads a whole output.jsonl or evaluation file, ours or the original's.
 *
 * @throws {UserError} naming the line: broken JSON, a torn last line, a missing header line, a row without its fields
 */
export const readOutputJsonl = async (path: string): Promise<OutputFileRead> => {
  const header: HeaderLine[] = [];
  const rows: PredictionRow[] = [];
  const faults: string[] = [];
  for await (const { line, value } of readJsonLines(path)) {
    if (header.length < 4) {
      header.push({ line, value });
      continue;
    }
    const row = readRow(objectAt(path, line, value, "a row"), line, faults);
    if (row !== undefined) rows.push(row);
  }
  throwRowFaults(path, faults);
  return { ...parseHeader(path, header), rows };
};

/**
 * The rows to score: every object that has `context`, whatever stands around them, as the original's scorers do it.
 *
 * @throws {UserError} if a line is broken, a row lacks a field, or there is no row at all
 */
export const readPredictionRows = async (path: string): Promise<PredictionRow[]> => {
  const rows: PredictionRow[] = [];
  const faults: string[] = [];
  for await (const { line, value } of readJsonLines(path)) {
    if (!isJsonObject(value) || !("context" in value)) continue;
    const row = readRow(value, line, faults);
    if (row !== undefined) rows.push(row);
  }
  throwRowFaults(path, faults);
  if (rows.length === 0)
    throw new UserError(
      `Cannot read ${path}: found no row with "context", expected at least one`,
      "Give a file that hira --ckpt or train_hira.py has written",
    );
  return rows;
};
