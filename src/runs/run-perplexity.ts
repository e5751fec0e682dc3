import { planned, type ComputeChoice, type Planned } from "../runtime/compute-plan.js";
import { requireNewFiles } from "../core/new-file.js";
import { UserError } from "../core/errors.js";
import { readTextFile } from "../core/text-file.js";
import { resolveDataRoot } from "../datasets/data-root.js";
import { countLabels, type EncodedRow } from "../datasets/encoded-rows.js";
import { encodeLongText } from "../datasets/pack-text.js";
import { readRecords, recordFileEndings, stringFields } from "../datasets/read-records.js";
import type { Split } from "../datasets/rows.js";
import { cutWindows, type BosRule } from "../datasets/text-windows.js";
import { readTextSplit, type TextSetName } from "../datasets/wikitext.js";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import type { ProgressUi } from "../report/progress.js";
import { encodeTexts } from "../tokenizer/encode-texts.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { requireKnownTokensOf, unknownTokensOfRows, vocabularyOf } from "../train/known-tokens.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { requireModelName } from "../train/model-name.js";
import { openLikelihood } from "./label-losses.js";
import { openTrained } from "./open-trained.js";
import { perplexitiesOf, textCounts, type Perplexities } from "./perplexity.js";
import { deviceChecks } from "./device-checks.js";
import type { GivenFlags } from "./recorded-flags.js";

/** What `hira perplexity` was asked: a model, its adapter, the text, and how it is cut into windows. */
export interface PerplexityRunOptions extends BaseStorage, ComputeChoice {
  /** The model, or the base of what --ckpt names, that somebody has named. */
  readonly modelName: string | undefined;
  readonly givenFlags?: GivenFlags;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  /** A file, or a split of a set. */
  readonly source:
    | { readonly file: string }
    | { readonly set: TextSetName; readonly split: Split; readonly dataDir: string | undefined };
  /** Undefined: the model's positions, at most 1024. */
  readonly maxLength: number | undefined;
  /** Undefined: half of the length. */
  readonly stride: number | undefined;
  /** Undefined: once before the text, where the tokenizer has such a token. */
  readonly bos: BosRule | undefined;
  /** Only the first windows. */
  readonly limit: number | undefined;
  readonly batch: number;
  readonly out: string | undefined;
  readonly overwrite: boolean;
}

/** A result with how it came about. */
export interface PerplexityResult extends Perplexities {
  readonly path: string;
  readonly sha256: string;
  readonly texts: number;
  readonly windows: number;
  readonly maxLength: number;
  readonly stride: number;
  readonly bos: BosRule;
  /** The text of the token that stands in front; null where there is none. */
  readonly bosToken: string | null;
  readonly model: string;
  readonly ckpt: string | null;
}

interface Texts {
  readonly path: string;
  readonly sha256: string;
  readonly texts: readonly string[];
}

const readTexts = async (source: PerplexityRunOptions["source"]): Promise<Texts> => {
  if ("set" in source) {
    const root = await resolveDataRoot({ dataDir: source.dataDir });
    const { text, path, sha256 } = await readTextSplit(source.set, source.split, root);
    return { path, sha256, texts: [text] };
  }
  const { file: path } = source;
  if (recordFileEndings.some((ending) => path.endsWith(ending))) {
    const file = await readRecords(path);
    const texts = stringFields(file, ["text"]).map(({ text }) => text);
    return { path, sha256: file.sha256, texts };
  }
  const { text, sha256 } = await readTextFile(path);
  if (text.trim() === "")
    throw new UserError(
      `Cannot measure ${path}: found no text, expected at least two tokens of it`,
    );
  return { path, sha256, texts: [text] };
};

const open = async (
  options: PerplexityRunOptions,
  ui: ProgressUi,
): Promise<{
  readonly base: BaseModel;
  readonly adapted: LiveAdapter | undefined;
  readonly modelName: string;
}> => {
  const { ckpt } = options;
  if (ckpt !== undefined)
    return openTrained({ ...options, ckpt, compat: new Set(), tokenizer: "required" }, ui);
  const modelName = requireModelName(options.modelName);
  const base = await loadBase(modelName, { ...options, tokenizer: "required" }, ui);
  return { base, adapted: undefined, modelName };
};

interface Windows {
  readonly maxLength: number;
  readonly stride: number;
  readonly bos: BosRule;
  readonly bosId: number | undefined;
}

/** @throws {UserError} if a window has no room, or the rule asks for a token that the tokenizer does not have */
const windowsAsked = (
  { maxLength, stride, bos: asked }: PerplexityRunOptions,
  { folder }: BaseModel,
  { bosId }: Tokenizer,
): Windows => {
  const { maxPositionEmbeddings } = folder.model;
  const length = maxLength ?? Math.min(1024, maxPositionEmbeddings);
  if (length > maxPositionEmbeddings)
    throw new UserError(
      `Cannot use --max_length ${String(length)}: found a model of ${String(maxPositionEmbeddings)} positions, expected no more than that`,
      "Its max_position_embeddings is in config.json",
    );
  const bos = asked ?? (bosId === undefined ? "none" : "text");
  if (bos !== "none" && bosId === undefined)
    throw new UserError(
      `Cannot use --bos ${bos}: found no begin-of-text token in the tokenizer, expected one`,
      "Choose --bos=none",
    );
  const room = length - (bos === "window" ? 1 : 0);
  const step = stride ?? Math.max(1, Math.floor(length / 2));
  if (step > room)
    throw new UserError(
      `Cannot use --stride ${String(step)}: found windows of ${String(room)} tokens of text, expected at most that`,
      "The stride is the way from one window to the next: what lies between them would not be read",
    );
  return { maxLength: length, stride: step, bos, bosId: bos === "none" ? undefined : bosId };
};

/** The texts as windows. */
const cutTexts = async (
  tokenizer: Tokenizer,
  texts: readonly string[],
  { maxLength, stride, bos, bosId }: Windows,
): Promise<readonly EncodedRow[]> => {
  const front = bos === "text" && bosId !== undefined ? [bosId] : [];
  const windowBos = bos === "window" ? bosId : undefined;
  return (await encode(tokenizer, texts)).flatMap((text, row) => {
    const ids = new Int32Array(front.length + text.length);
    ids.set(front);
    ids.set(text, front.length);
    return cutWindows({ row, ids }, { maxLength, stride, windowBos });
  });
};

/** The tokens of the texts. */
const encode = async (
  tokenizer: Tokenizer,
  texts: readonly string[],
): Promise<readonly Int32Array[]> => {
  const [only] = texts;
  const options = { cacheFolder: tokenCacheFolder() };
  if (texts.length === 1 && only !== undefined)
    return [await encodeLongText(tokenizer, only, options)];
  const { table } = await encodeTexts(tokenizer, texts, options);
  return texts.map((_, i) => table.at(i));
};

/**
 * `hira perplexity`: how well a model, or what was trained on it, predicts a text; see cutWindows and Perplexities for what is
 * computed. With `out` the result is written as JSON too.
 *
 * @throws {UserError} on files that are no texts, and lengths that do not fit the model
 */
export const runPerplexity = (
  options: PerplexityRunOptions,
  ui: ProgressUi,
): Promise<PerplexityResult> => planned(options, (known) => measure(known, ui));

const measure = async (
  options: PerplexityRunOptions & Planned,
  ui: ProgressUi,
): Promise<PerplexityResult> => {
  const { out } = options;
  if (out !== undefined)
    await requireNewFiles([out], { flag: "--out", overwrite: options.overwrite });
  const { texts, path, sha256 } = await readTexts(options.source);
  const model = await open(options, ui);
  const { tokenizer } = model.base;
  if (!tokenizer) throw new RangeError("Cannot measure a text without a tokenizer");
  const how = windowsAsked(options, model.base, tokenizer);
  const windows = await cutTexts(tokenizer, texts, how);
  const asked = windows.slice(0, options.limit).filter((window) => countLabels(window) > 0);
  if (asked.length === 0)
    throw new UserError(
      `Cannot measure ${path}: found no token with another one before it, expected at least one`,
      "Give a longer text, or a token to begin with: --bos=text",
    );
  requireKnownTokensOf(model.base, unknownTokensOfRows(asked, path, vocabularyOf(model.base)), {
    usesTokenizer: how.bos !== "none",
  });
  const likelihood = await openLikelihood(model, asked, {
    ...options,
    tellCheck: deviceChecks(options, ui),
  });
  const progress = ui.decoding(asked.length, "perplexity", "windows");
  let shown = 0;
  let sum = 0;
  let tokens = 0;
  try {
    const losses = await likelihood.lossesOf(asked, {
      batch: options.batch,
      onProgress: (done) => {
        progress.advance(done - shown);
        shown = done;
      },
    });
    for (const row of losses) {
      tokens += row.length;
      for (const loss of row) sum += loss;
    }
  } finally {
    progress.done();
    likelihood.dispose();
  }
  const isWhole = asked.length === windows.length;
  const result: PerplexityResult = {
    ...perplexitiesOf({ sum, tokens }, isWhole ? textCounts(texts) : undefined),
    ...{ path, sha256, texts: texts.length, windows: asked.length },
    ...{ maxLength: how.maxLength, stride: how.stride, bos: how.bos },
    bosToken: how.bos === "none" ? null : (tokenizer.bosToken ?? null),
    model: model.modelName,
    ckpt: options.ckpt ?? null,
  };
  if (out !== undefined) await writeFileAtomically(out, `${JSON.stringify(result, null, 2)}\n`);
  return result;
};
