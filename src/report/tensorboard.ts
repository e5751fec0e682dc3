import { readdir } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import { messageOf, UserError } from "../core/errors.js";
import { makeFolder } from "../core/folder.js";
import { openAppendFile, type AppendFile } from "./append-file.js";
import { encodeRecord, filterEvents } from "./event-file.js";

/** Writes the event file of one run, which TensorBoard reads while it grows. */
export interface TensorBoardWriter {
  /** The folder of the event file. */
  readonly folder: string;
  /**
   * Adds one point to the curve of every value; names as in trainer_state.json's log_history, tags by {@link tagOf}.
   * Values are stored as float32.
   */
  log(values: Readonly<Record<string, number>>, step: number, time: Date): Promise<void>;
  /** Adds a text (Markdown) to the TEXT tab, under `{name}/text_summary` as torch's writer has it. */
  text(name: string, text: string, step: number, time: Date): Promise<void>;
  /** Resolves when all events so far are on the disk. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** `eval_loss` -> `eval/loss`, `test_...` -> `test/...`, all others `train/...`. Source: rewrite_logs of transformers 4.41.1. */
export const tagOf = (name: string): string => {
  const split = /^(eval|test)_(.*)$/s.exec(name);
  return split === null ? `train/${name}` : `${split[1] ?? ""}/${split[2] ?? ""}`;
};

// Protocol buffers, as far as events need them. Source: tensorboard's event.proto, summary.proto and tensor.proto.
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
/** DT_STRING of tensorflow's types.proto. */
const stringType = 7;

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  // Not with bit operations, which end at 32 bits.
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
};

const field = (number: number, type: number, content: Uint8Array): Buffer =>
  Buffer.concat([varint(number * 8 + type), content]);

const varintField = (number: number, value: number): Buffer =>
  field(number, wire.varint, varint(value));

const bytesField = (number: number, content: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(content);
  return field(number, wire.bytes, Buffer.concat([varint(bytes.length), bytes]));
};

const doubleField = (number: number, value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return field(number, wire.fixed64, bytes);
};

const floatField = (number: number, value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return field(number, wire.fixed32, bytes);
};

const message = (...fields: readonly Buffer[]): Buffer => Buffer.concat(fields);

/** Event { wall_time = 1 in seconds, step = 2, and one of file_version = 3, summary = 5 }. */
const event = (time: Date, step: number, content: Buffer): Buffer =>
  message(doubleField(1, time.getTime() / 1000), varintField(2, step), content);

/** Summary { repeated Value value = 1 }. */
const summary = (values: readonly Buffer[]): Buffer =>
  bytesField(5, message(...values.map((value) => bytesField(1, value))));

/** Summary.Value { tag = 1, simple_value = 2 }. */
const scalarValue = (tag: string, value: number): Buffer =>
  message(bytesField(1, tag), floatField(2, value));

/** Summary.Value { tag = 1, tensor = 8, metadata = 9 }: a string tensor [1] that the text plugin shows. */
const textValue = (tag: string, text: string): Buffer => {
  const pluginData = bytesField(1, message(bytesField(1, "text"), bytesField(2, "")));
  const shape = bytesField(2, bytesField(2, varintField(1, 1))); // one dimension of size 1
  const tensor = message(varintField(1, stringType), shape, bytesField(8, text));
  return message(bytesField(1, tag), bytesField(8, tensor), bytesField(9, pluginData));
};

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const twoDigits = (value: number): string => String(value).padStart(2, "0");

/** `Jan09_12-00-00_{host}` in local time. Source: default_logdir of transformers 4.41.1. */
const logFolderName = (time: Date, host: string): string =>
  [
    `${months[time.getMonth()] ?? ""}${twoDigits(time.getDate())}`,
    [time.getHours(), time.getMinutes(), time.getSeconds()].map(twoDigits).join("-"),
    host,
  ].join("_");

/**
 * Makes `runs/<MonDD_HH-MM-SS_host>/events.out.tfevents.<seconds>.<host>.<pid>.0` in the run folder.
 *
 * @param startedAt names folder and file, in local time
 * @throws {UserError} if the file cannot be made, or one of the name is there; log and text throw one if it cannot be written
 */
export const openTensorBoard = async (
  runFolder: string,
  startedAt: Date,
  { host = hostname(), pid = process.pid }: { readonly host?: string; readonly pid?: number } = {},
): Promise<TensorBoardWriter> => {
  const folder = join(runFolder, "runs", logFolderName(startedAt, host));
  try {
    await makeFolder(folder);
  } catch (error) {
    throw new UserError(
      `Cannot make ${folder}: ${messageOf(error)}`,
      "Choose an --output_folder that is writable and has room",
    );
  }
  const seconds = Math.floor(startedAt.getTime() / 1000);
  const name = `events.out.tfevents.${String(seconds)}.${host}.${String(pid)}.0`;
  const file = await openAppendFile(join(folder, name), "make new");
  await file.append(encodeRecord(event(startedAt, 0, bytesField(3, "brain.Event:2"))));
  return writerTo(file, folder);
};

const writerTo = (file: AppendFile, folder: string): TensorBoardWriter => {
  const write = (time: Date, step: number, content: Buffer): Promise<void> =>
    file.append(encodeRecord(event(time, step, content)));
  return {
    folder,
    log: (values, step, time) =>
      write(
        time,
        step,
        summary(Object.entries(values).map(([key, value]) => scalarValue(tagOf(key), value))),
      ),
    text: (key, text, step, time) =>
      write(time, step, summary([textValue(`${key}/text_summary`, text)])),
    flush: () => file.flush(),
    close: () => file.close(),
  };
};

/** What stands once, at the end of a training. */
const endTag = tagOf("train_runtime");

const isOfEvaluation = (tag: string): boolean => tag.startsWith("eval/");

/**
 * Goes on in the event file of a run that was stopped: events of steps after `afterStep` are dropped, and those of the end of a
 * training, which the run will write again.
 *
 * Resolves to undefined where the run folder has no event file.
 * @param options.evaluated false where the evaluation after `afterStep` is still to come
 * @throws {UserError} if the file cannot be read or written
 */
export const continueTensorBoard = async (
  runFolder: string,
  afterStep: number,
  { evaluated = true }: { readonly evaluated?: boolean } = {},
): Promise<TensorBoardWriter | undefined> => {
  const runs = join(runFolder, "runs");
  const names = await readdir(runs, { recursive: true }).catch((): string[] => []);
  const paths = names
    .map((name) => join(runs, name))
    .filter((path) => basename(path).startsWith("events.out.tfevents."))
    // The second in which it was begun stands in the name.
    .sort((a, b) => (basename(a) < basename(b) ? -1 : 1));
  const newest = paths.at(-1);
  if (newest === undefined) return undefined;
  for (const path of paths) {
    const kept = await filterEvents(path, ({ step, tags }) => {
      const isAhead =
        step > afterStep || (!evaluated && step === afterStep && tags.some(isOfEvaluation));
      return !isAhead && !tags.includes(endTag);
    });
    await writeFileAtomically(path, kept);
  }
  return writerTo(await openAppendFile(newest), dirname(newest));
};
