import { isFloat } from "../core/dtype.js";
import { userErrorOfFaults } from "../core/errors.js";
import { embeddingTensor, ownHead, type Model, type ShownSize } from "./model.js";
import type { TensorEntry } from "./weights/safetensors.js";
import {
  blocksOf,
  compareTensors,
  nameDifference,
  type TensorFaults,
} from "./weights/tensor-faults.js";

/** What faulty tensors have in common: their names, or sizes that config.json says and the weights do not show. */
const inCommon = (
  model: Model,
  entries: ReadonlyMap<string, TensorEntry>,
  found: TensorFaults,
): string | undefined => {
  const names = nameDifference(found);
  if (names !== undefined) return `In common: ${names}`;
  const shown: readonly ShownSize[] = [
    ...model.shownSizes((name) => entries.get(name)?.shape),
    ["num_hidden_layers", model.layers, blocksOf(entries.keys()) || undefined],
  ];
  const differing = shown.filter(([, says, shows]) => shows !== undefined && shows !== says);
  if (differing.length === 0) return undefined;
  return `In common: ${differing.map(([name, says, shows]) => `config.json says ${name} ${String(says)}, the weights have ${String(shows)}`).join("; ")}`;
};

const hintOf = (model: Model, entries: ReadonlyMap<string, TensorEntry>): string | undefined => {
  const { kvHeads, headDim, tieWordEmbeddings } = model;
  const [embedding, head] = [embeddingTensor(model), ownHead(model)];
  const sizes = model.shownSizes((name) => entries.get(name)?.shape);
  const key = sizes.find(([name]) => name.startsWith("num_key_value_heads"))?.[2];
  if (key !== undefined && key !== kvHeads * headDim && key % headDim === 0)
    return `config.json says num_key_value_heads ${String(kvHeads)}, or nothing: give the value the model was trained with (here ${String(key / headDim)})`;
  const bare = embedding.replace(/^\w+\./, "");
  if (entries.has(bare) && !entries.has(embedding))
    return "A model without its head was saved: load and save it once as a whole in transformers, with AutoModelForCausalLM";
  if (head !== undefined && !tieWordEmbeddings && entries.has(embedding) && !entries.has(head))
    return 'Where the output layer shares the embedding, config.json says "tie_word_embeddings": true';
  return undefined;
};

/**
 * Checks that the files hold the very tensors that the config asks for.
 *
 * @param where names the files in errors
 * @throws {UserError} one that lists every tensor that is missing, misshapen, not of a float dtype or not the model's
 */
export const checkModelTensors = (
  model: Model,
  entries: ReadonlyMap<string, TensorEntry>,
  where: string,
): void => {
  const present = new Map([...entries].filter(([name]) => !model.isRedundant(name)));
  const found = compareTensors(model.tensors, present, {
    types: {
      accepts: (dtype) => isFloat(dtype) && dtype !== "float64",
      words: "float32, float16 or bfloat16",
    },
    others: "no such tensor in this model",
  });
  if (found.lines.length > 0)
    throw userErrorOfFaults(
      `Cannot load weights from ${where}`,
      found.lines,
      hintOf(model, entries),
      inCommon(model, entries, found),
    );
};
