import { basename, dirname } from "node:path";
import { requireFreeSpace } from "../core/free-space.js";
import { UserError } from "../core/errors.js";
import { requireNewFiles } from "../core/new-file.js";
import {
  countByType,
  outTypes,
  planAdapterGguf,
  planModelGguf,
  type LoraToExport,
  type ModelToExport,
  type OutType,
} from "../models/gguf/export-gguf.js";
import { ggufByteLength, writeGguf, type GgufToWrite } from "../models/gguf/write-gguf.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { weightOf } from "../models/model.js";
import { openCompanions } from "../models/model-files.js";
import { loadModelFolder } from "../models/model-folder.js";
import { readTensorAsFloat32, type TensorEntry } from "../models/weights/safetensors.js";
import type { ProgressUi } from "../report/progress.js";
import type { BaseStorage } from "../train/load-base.js";
import { openMergedTensors } from "./merged-tensors.js";
import { findTrained, openTrained } from "./open-trained.js";
import type { GivenFlags } from "./recorded-flags.js";

/** What `hira export` was asked for. */
export interface ExportRunOptions extends BaseStorage {
  /** A run folder, one checkpoint, or a peft adapter; undefined for a plain model. */
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  /** The plain model, or the base model that somebody has named; see findBase. */
  readonly modelName: string | undefined;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  /** The file to write. */
  readonly out: string;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
  /** The type of matrices; undefined for that of the model's files, of an adapter f32. */
  readonly outType: OutType | undefined;
  /** Writes the adapter alone, in llama.cpp's form. */
  readonly adapterOnly: boolean;
}

const roomHint = "Free some, choose an --out on another disk, or --outtype=q8_0";

const outTypeOfDtype: Readonly<Record<string, OutType>> = {
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
};

/** The type that most elements of a model's matrices have. */
const outTypeOf = (weights: Iterable<Pick<TensorEntry, "dtype" | "shape">>): OutType => {
  const counts = new Map<OutType, number>();
  for (const { dtype, shape } of weights) {
    const type = outTypeOfDtype[dtype] ?? "f32";
    const count = shape.length < 2 ? 0 : shape.reduce((product, size) => product * size, 1);
    counts.set(type, (counts.get(type) ?? 0) + count);
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? outTypes[0];
};

/** The name of what is exported: of a checkpoint with its run's. */
const titleOf = (path: string): string => {
  const name = basename(path).replace(/\.gguf$/i, "");
  return /^checkpoint-\d+$/.test(name) ? `${basename(dirname(path))}-${name}` : name;
};

const sizeText = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** Checks that there is room, writes, and says what stands in the file. */
const write = async (out: string, file: GgufToWrite, what: string, ui: ProgressUi) => {
  const bytes = ggufByteLength(file);
  await requireFreeSpace(out, bytes, roomHint);
  await writeGguf(out, file);
  const types = [...countByType(file).keys()].join(" and ");
  ui.line(
    `Wrote ${what} to ${out}: ${String(file.tensors.length)} tensors in ${types}, ${sizeText(bytes)}`,
  );
};

/** A model's file, with progress by tensors. */
const exportModel = async (
  model: Omit<ModelToExport, "onTensor">,
  { out, what }: { readonly out: string; readonly what: string },
  ui: ProgressUi,
): Promise<void> => {
  const progress = ui.decoding(model.model.tensors.size, "export", "tensors");
  try {
    const { file, warnings } = await planModelGguf({
      ...model,
      onTensor: (name) => {
        progress.advance(1, name);
      },
    });
    for (const warning of warnings) ui.warn(warning);
    await write(out, file, what, ui);
  } finally {
    progress.done();
  }
};

const exportPlain = async (
  path: string,
  { out, outType }: ExportRunOptions,
  ui: ProgressUi,
): Promise<void> => {
  const folder = await loadModelFolder(path);
  for (const warning of folder.warnings) ui.warn(warning);
  const { weights } = folder;
  await exportModel(
    {
      path: folder.path,
      model: folder.model,
      rawConfig: folder.rawConfig,
      title: titleOf(folder.path),
      outType: outType ?? outTypeOf(weights.values()),
      companions: await openCompanions(folder.path),
      async read(name) {
        const entry = weights.get(name);
        if (!entry) throw new RangeError(`Cannot export "${name}": ${path} has no such tensor`);
        return readTensorAsFloat32(entry);
      },
    },
    { out, what: path },
    ui,
  );
};

const exportMerged = async (
  options: ExportRunOptions & { readonly ckpt: string },
  ui: ProgressUi,
): Promise<void> => {
  const merged = await openMergedTensors(options, ui);
  try {
    const { model, folder, method } = merged;
    await exportModel(
      {
        path: model.path,
        model: model.model,
        rawConfig: model.rawConfig,
        title: titleOf(folder),
        outType: options.outType ?? outTypeOf(model.weights.values()),
        companions: await openCompanions(merged.tokenizerFolder),
        read: (name) => merged.readWide(name),
      },
      { out: options.out, what: `${model.path} with ${method} of ${folder} in its weights` },
      ui,
    );
  } finally {
    merged.dispose();
  }
};

const mergedHint = "Leave --adapter_only out: the merged model holds it";

const exportAdapter = async (
  options: ExportRunOptions & { readonly ckpt: string },
  ui: ProgressUi,
): Promise<void> => {
  const { base, adapted, folder } = await openTrained(
    { ...options, compat: new Set(), tokenizer: "optional" },
    ui,
  );
  const refuse = (found: string, expected: string, hint = mergedHint): UserError =>
    new UserError(
      `Cannot write ${folder} as an adapter of llama.cpp: found ${found}, expected ${expected}`,
      hint,
    );
  if (!adapted)
    throw refuse("a plain model", "a LoRA adapter", "Leave --adapter_only out: it is a model");
  const { adapter, values } = adapted;
  const { method, targets, parameters } = adapter;
  if (method.kind !== "linear" || !method.lowRankScale)
    throw refuse(
      `${method.name}, whose update of a weight is no scale * B A of low rank`,
      "LoRA and its kin, whose update is that and nothing else",
      method.kind === "virtual" ? "llama.cpp has no form for virtual tokens" : mergedHint,
    );
  const saved = parameters.filter((parameter) => parameter.saved).map(({ name }) => name);
  if (saved.length > 0) throw refuse(`${saved.join(", ")} trained in full beside it`, "B A alone");
  const { model } = base.folder;
  const isTied = targets.some(({ table }) => table !== undefined) && model.tieWordEmbeddings;
  if (isTied)
    throw refuse(
      "an adapter of the embedding or the head of a model that ties the two",
      "other layers: llama.cpp has one tensor for both",
    );
  const valueOf = (name: string) => {
    const tensor = values.get(name);
    if (!tensor) throw new RangeError(`Cannot export ${folder}: found no value of ${name}`);
    return { shape: tensor.shape, data: tensor.data as Float32Array };
  };
  const layers: LoraToExport[] = [];
  for (const module of targets) {
    const A = valueOf(`${module.path}.A`);
    layers.push({
      weight: weightOf(module),
      table: module.table,
      rank: A.shape[0] ?? 0,
      scale: method.lowRankScale(adapter.optionsOf(module)),
      A,
      B: valueOf(`${module.path}.B`),
    });
  }
  const file = planAdapterGguf(
    { path: base.folder.path, model, title: titleOf(folder), outType: options.outType ?? "f32" },
    layers,
  );
  await write(options.out, file, `the adapter ${folder}`, ui);
};

/**
 * `hira export --to=gguf`: writes a model, a model with what was trained in its weights, or a LoRA adapter alone as one file of
 * llama.cpp's.
 *
 * Tensors are made one at a time; the file is written beside `out` and renamed when all of it is there.
 * @throws {UserError} if `out` is there, its disk is full, or the model, its tokenizer or the method cannot be said in such a file;
 *   nothing is left behind
 */
export const runExport = async (options: ExportRunOptions, ui: ProgressUi): Promise<void> => {
  const { ckpt, modelName, out, overwrite, adapterOnly } = options;
  await requireNewFiles([out], { flag: "--out", overwrite });
  if (ckpt === undefined) {
    if (modelName === undefined) throw new RangeError("Cannot export: found no model");
    await exportPlain(await findOnHub(modelName, { purpose: "model", ui }), options, ui);
    return;
  }
  if (adapterOnly) {
    await exportAdapter({ ...options, ckpt }, ui);
    return;
  }
  const trained = await findTrained(options as typeof options & { readonly ckpt: string }, ui);
  if (trained.holds === "plain model") await exportPlain(trained.folder, options, ui);
  else await exportMerged({ ...options, ckpt }, ui);
};
