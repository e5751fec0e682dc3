import { existsSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFault } from "../core/atomic-file.js";
import { contentHash } from "../core/content-hash.js";
import { makeFolder } from "../core/folder.js";
import { readLines } from "../core/json-lines.js";
import { isJsonObject } from "../core/json.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { generate, type GenerateOptions } from "../decode/generate.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { doneByAll, waitUnlessStopped } from "../distributed/shared-work.js";
import type { Sequence } from "../decode/search.js";
import { modelFile } from "../models/model-files.js";
import { openAppendFile } from "../report/append-file.js";
import type { ProgressUi } from "../report/progress.js";
import type { ComputePlan } from "../runtime/compute-plan.js";
import { isReference } from "../train/device-check.js";
import { activities, InterruptedError, type InterruptSignal } from "../train/interrupt.js";
import type { BaseModel } from "../train/load-base.js";

/** What answers: a base as it is held, what was trained on it, and where it computes. */
export interface Answerer {
  readonly base: BaseModel;
  readonly adapted: LiveAdapter | undefined;
  /** Default: the CPU in float32. */
  readonly plan?: ComputePlan | undefined;
}

/**
 * What tells a model from others: its files by name, size and time, how they are held, and every trained number.
 *
 * @param options.times false: the files' times do not count, which differ between copies
 */
export const partsOfModel = async (
  { base, adapted, plan }: Answerer,
  { times = true }: { readonly times?: boolean } = {},
): Promise<(string | Uint8Array)[]> => {
  const { path, files } = base.folder;
  const parts: (string | Uint8Array)[] = [base.tokenizer?.hash ?? ""];
  // Answers of two devices, or precisions, are not mixed in one file.
  if (plan && !isReference(plan)) parts.push(`${plan.device.name} ${plan.precision}`);
  for (const name of files) {
    const { size, mtimeMs } = await stat(modelFile(path, name));
    parts.push(`${name} ${String(size)}${times ? ` ${String(mtimeMs)}` : ""}`);
  }
  for (const name of base.weights.names) {
    const { dtype, codec } = base.weights.typeOf(name);
    parts.push(`${name} ${codec?.name ?? JSON.stringify(dtype)}`);
  }
  if (!adapted) return parts;
  const { adapter, values } = adapted;
  parts.push(adapter.method.name, JSON.stringify(adapter.options));
  for (const [name, { data }] of values)
    parts.push(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return parts;
};

/**
 * Names what is answered, by what and how: two calls of one name find the same sequences.
 *
 * Prompts count by their token ids, so that other rows, another template or another tokenizer are another job.
 */
const nameOfJob = async (
  answerer: Answerer,
  { prompts, settings, batch, batchTokens, seed }: GenerateOptions,
  stopStrings: readonly string[],
): Promise<string> => {
  const ids = prompts.map((prompt) => [prompt.paddingColumns ?? 0, ...prompt.ids]);
  const how = [settings, batch, batchTokens ?? null, seed ?? null, stopStrings];
  const parts = [...(await partsOfModel(answerer)), JSON.stringify(how), JSON.stringify(ids)];
  return contentHash(parts);
};

const isSequence = (value: unknown): value is Sequence =>
  isJsonObject(value) &&
  Array.isArray(value.tokens) &&
  typeof value.score === "number" &&
  typeof value.stoppedBy === "string";

/** The value of a line; undefined for one that a killed process has left torn. */
const valueOf = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
};

/** The sequences of a file of kept answers, by row. */
const readKept = async (path: string): Promise<ReadonlyMap<number, readonly Sequence[]>> => {
  const found = new Map<number, readonly Sequence[]>();
  if (!existsSync(path)) return found;
  for await (const { bytes } of readLines(path)) {
    const value = valueOf(bytes);
    if (!isJsonObject(value)) continue;
    const { row, sequences } = value;
    if (typeof row === "number" && Array.isArray(sequences) && sequences.every(isSequence))
      found.set(row, sequences);
  }
  return found;
};

const noFiles = (): Promise<void> => Promise.resolve();

/** Decodes this process's share of the batches; process 0 gets all that is found. `known` is what that one has kept. */
const answerShare = async (
  { known = new Map(), ...options }: Omit<GenerateOptions, "signal" | "stop" | "onProgress">,
  group: ProcessGroup,
  events: Pick<GenerateOptions, "signal" | "stop" | "onBatch" | "onProgress"> = {},
): Promise<readonly (readonly Sequence[])[]> => {
  if (group.size === 1) return generate({ ...options, ...events, known });
  const [rows = []] = await group.gather([...known.keys()]);
  const { rank, size } = group;
  const found = await generate({
    ...options,
    ...events,
    known: new Map(rows.map((row) => [row, known.get(row) ?? []])),
    share: { rank, size },
  });
  const all = await waitUnlessStopped(group.gather(found), events.stop);
  return found.map(
    (_, row) => all.map((each) => each[row] ?? []).find((each) => each.length > 0) ?? [],
  );
};

/**
 * Decodes as `generate` does, and keeps what is found beside `path` until the caller has written that: a batch at a time, on
 * the disk before the next one begins, in `<path>.<job>.partial`, which no program takes for a file of answers.
 *
 * The same call goes on where an earlier one was stopped or killed, and finds the same sequences as one that was never stopped.
 * The first signal ends it after the batch at work, or some seconds later; see InterruptSignal.
 * @param told what is answered, for the line that a stop ends with: "boolq"
 * @returns the sequences, and `done`, which removes what was kept
 * @throws {InterruptedError} after a signal
 * @throws {UserError} as generate, and if nothing can be written beside `path`
 */
export const generateKeeping = async (
  options: Omit<GenerateOptions, "signal" | "stop" | "known" | "onBatch" | "onProgress">,
  {
    path,
    told,
    unit,
    answerer,
    stopStrings,
    ui,
    interrupt,
    group = soloGroup,
  }: {
    readonly path: string;
    readonly told: string;
    readonly unit: "rows" | "prompts";
    readonly answerer: Answerer;
    readonly stopStrings: readonly string[];
    readonly ui: ProgressUi;
    readonly interrupt: InterruptSignal;
    /** The processes that answer together; process 0 alone keeps and writes. */
    readonly group?: ProcessGroup | undefined;
  },
): Promise<{
  readonly sequences: readonly (readonly Sequence[])[];
  readonly done: () => Promise<void>;
}> => {
  if (group.rank > 0) return { sequences: await answerShare(options, group), done: noFiles };
  const job = await nameOfJob(answerer, options, stopStrings);
  const partial = `${path}.${job.slice(0, 8)}.partial`;
  const known = await readKept(partial);
  const total = options.prompts.length;
  if (known.size > 0)
    ui.line(`${told}: going on behind ${String(known.size)} of ${String(total)} ${unit}`);
  await makeFolder(dirname(partial)).catch((error: unknown) => {
    throw writeFault(error, path, "Choose a folder that is writable and has room");
  });
  const file = await openAppendFile(partial);
  const progress = ui.decoding(total, told, unit);
  let shown = 0;
  let kept = known.size;
  try {
    // A line that was cut off must not swallow the next one.
    await file.append("\n");
    const sequences = await interrupt.during(activities.answering, () =>
      answerShare({ ...options, known }, group, {
        signal: interrupt.hurry,
        stop: interrupt.stop,
        onBatch: async (found) => {
          const lines = [...found].map(([row, all]) => JSON.stringify({ row, sequences: all }));
          await file.append(`${lines.join("\n")}\n`);
          await file.flush();
          for (const row of found.keys()) if (!known.has(row)) kept++;
        },
        onProgress: ({ finished }) => {
          const all = doneByAll(finished, total, group);
          progress.advance(all - shown);
          shown = all;
        },
      }),
    );
    return { sequences, done: () => rm(partial, { force: true }) };
  } catch (error) {
    if (kept === 0) await rm(partial, { force: true });
    else if (error instanceof InterruptedError)
      ui.line(
        `${told}: stopped with ${String(kept)} of ${String(total)} ${unit} answered; the same command goes on with the others`,
      );
    throw error;
  } finally {
    progress.done();
    await file.close();
  }
};
