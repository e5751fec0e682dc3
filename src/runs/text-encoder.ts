import type { ComputePlan } from "../runtime/compute-plan.js";
import { basename } from "node:path";
import { UserError } from "../core/errors.js";
import { isJsonObject, parseJson } from "../core/json.js";
import type { EncodedText } from "../metrics/bert-score.js";
import { stripSpace } from "../metrics/python-text.js";
import { findOnHub } from "../models/hub/find-on-hub.js";
import { loadModelFolder, type ModelFolder } from "../models/model-folder.js";
import { openFrozenWeights } from "../models/weights/frozen-weights.js";
import type { ProgressUi } from "../report/progress.js";
import type { TextEncoder } from "../score/scorer.js";
import { loadTokenizer } from "../tokenizer/load-tokenizer.js";
import { readSpecialTokens } from "../tokenizer/special-tokens.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { StatesSession } from "./states-session.js";

/** Which layer's states stand for a text's tokens, and where they are computed. */
export interface TextEncoderOptions {
  /** After how many layers; 0 are the embeddings. Undefined: what suits a model of its name, else all. */
  readonly layer: number | undefined;
  readonly plan?: ComputePlan | undefined;
}

/** An encoder that is to be closed. */
export interface OpenTextEncoder extends TextEncoder {
  dispose(): void;
}

/** Tokens of a batch, padding included: what attention's scores of a layer take stays small. */
const batchTokens = 4096;

/** The layer that bert-score takes for a model of this name. Source: model2layers of bert-score 0.3.13. */
const chooseLayer = (
  { model, rawConfig, path }: ModelFolder,
  name: string,
  given: number | undefined,
): number => {
  const { layers, comparingLayers = {} } = model;
  if (given !== undefined) {
    if (given <= layers) return given;
    throw new UserError(
      `Cannot use --bert_layer ${String(given)}: found ${String(layers)} layers in ${path}, expected a number from 0 to ${String(layers)}`,
    );
  }
  const names = [name, path, rawConfig._name_or_path].filter((text) => typeof text === "string");
  const known = names
    .map((text) => comparingLayers[basename(text.replace(/@.*/, ""))])
    .find((layer) => layer !== undefined);
  return Math.min(known ?? layers, layers);
};

/** How many tokens a row may have: the tokenizer's limit, within the model's. */
const longestRow = ({ source }: Tokenizer, { model }: ModelFolder): number => {
  const config = parseJson(source.tokenizerConfigJson ?? "{}", source.name);
  const limit = isJsonObject(config) ? config.model_max_length : undefined;
  return typeof limit === "number" && limit >= 1
    ? Math.min(limit, model.maxPositionEmbeddings)
    : model.maxPositionEmbeddings;
};

/** The ids of a text between the tokenizer's special tokens, its end cut at `limit`, and what each weighs. */
const rowMaker = (
  tokenizer: Tokenizer,
  limit: number,
): ((text: string) => Pick<EncodedText, "weights"> & { readonly ids: readonly number[] }) => {
  const { source } = tokenizer;
  const json = parseJson(source.tokenizerJson, source.name);
  const { single } = readSpecialTokens(
    isJsonObject(json) ? json.post_processor : undefined,
    source.name,
  );
  const special = new Set(single.flatMap((piece) => (piece.kind === "tokens" ? piece.ids : [])));
  return (text) => {
    const room = limit - single.reduce((n, p) => n + (p.kind === "tokens" ? p.ids.length : 0), 0);
    const own = tokenizer.encode(stripSpace(text)).slice(0, Math.max(0, room));
    const ids = single.flatMap((piece) => (piece.kind === "tokens" ? piece.ids : own));
    return { ids, weights: ids.map((id) => (special.has(id) ? 0 : 1)) };
  };
};

/** Rows of like length side by side, so that little is padding. @param lengths by row */
const batchesOf = (lengths: readonly number[]): readonly (readonly number[])[] => {
  const order = [...lengths.keys()].sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0));
  const batches: number[][] = [];
  for (const row of order) {
    const last = batches.at(-1);
    const longest = lengths[last?.[0] ?? row] ?? 0;
    if (last && (last.length + 1) * longest <= batchTokens) last.push(row);
    else batches.push([row]);
  }
  return batches;
};

/**
 * Opens the encoder of BERTScore: texts become the hidden states of their tokens after a layer. The model is loaded here, and computed
 * with when first asked.
 *
 * A token of the tokenizer's template weighs nothing, wherever it stands, as in bert-score 0.3.13.
 * @param name a folder, or a name on the Hub
 * @throws {UserError} on a folder that is no model or has no tokenizer, on a decoder, and on a layer that is not there
 */
export const openTextEncoder = async (
  name: string,
  { layer: given, plan }: TextEncoderOptions,
  ui: Pick<ProgressUi, "decoding" | "line" | "warn">,
): Promise<OpenTextEncoder> => {
  const folder = await loadModelFolder(await findOnHub(name, { purpose: "model", ui }));
  const { model, path, weights: entries } = folder;
  if (model.causal)
    throw new UserError(
      `Cannot use --bert_model ${name}: found ${model.modelType}, whose tokens see only what stands before them, expected an encoder`,
      "Give the folder of an encoder, such as bert-base-uncased",
    );
  const layer = chooseLayer(folder, name, given);
  const tokenizer = await loadTokenizer(path, { modelName: name });
  const limit = longestRow(tokenizer, folder);
  const makeRow = rowMaker(tokenizer, limit);
  let session: StatesSession | undefined;
  const open = async (): Promise<StatesSession> => {
    const used = new Map([...entries].filter(([tensor]) => model.tensors.has(tensor)));
    const weights = await openFrozenWeights(used, { storage: "float32" });
    return StatesSession.create({ model, weights, layers: layer, maxPositions: limit, plan });
  };
  return {
    description: `${name} (${model.modelType}), layer ${String(layer)} of ${String(model.layers)}`,
    progress: (pairs) => ui.decoding(pairs, "BERTScore", "pairs"),
    async encode(texts) {
      session ??= await open();
      const rows = texts.map(makeRow);
      const encoded: EncodedText[] = [];
      for (const batch of batchesOf(rows.map(({ ids }) => ids.length))) {
        const states = await session.run(batch.map((row) => rows[row]?.ids ?? []));
        for (const [i, row] of batch.entries())
          encoded[row] = {
            vectors: states[i] ?? new Float32Array(),
            width: model.hiddenSize,
            weights: rows[row]?.weights ?? [],
          };
      }
      return encoded;
    },
    dispose() {
      session?.dispose();
    },
  };
};
