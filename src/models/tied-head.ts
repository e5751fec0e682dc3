import { elementCount, isFloat } from "../core/dtype.js";
import type { JsonObject } from "../core/json-file.js";
import { embeddingTensor, ownHead, type Model } from "./model.js";
import { readTensorPart, toFloat32, type TensorEntry } from "./weights/safetensors.js";

/** Elements that are compared at a time. */
const partSize = 2 ** 22;

/** Whether two tensors have one shape and the same numbers, be they of two dtypes. Reads up to the first difference. */
export const holdSameNumbers = async (a: TensorEntry, b: TensorEntry): Promise<boolean> => {
  if (String(a.shape) !== String(b.shape) || !isFloat(a.dtype) || !isFloat(b.dtype)) return false;
  const length = elementCount(a.shape);
  for (let first = 0; first < length; first += partSize) {
    const count = Math.min(partSize, length - first);
    const [left, right] = [
      toFloat32(a.dtype, await readTensorPart(a, first, count)),
      toFloat32(b.dtype, await readTensorPart(b, first, count)),
    ];
    if (!left.every((value, i) => value === right[i])) return false;
  }
  return true;
};

/** What a model's files say of its head and embedding. */
interface TieableModel {
  readonly model: Model;
  readonly rawConfig: JsonObject;
  readonly weights: ReadonlyMap<string, TensorEntry>;
  readonly shardOf: ReadonlyMap<string, string>;
}

/** The same map with one key taken for another, or left out. */
const renamed = <T>(
  map: ReadonlyMap<string, T>,
  from: string,
  to: string | undefined,
  rename: (value: T) => T = (value) => value,
): ReadonlyMap<string, T> =>
  new Map(
    [...map].flatMap(([key, value]): [string, T][] => {
      if (key !== from) return [[key, value]];
      return to === undefined ? [] : [[to, rename(value)]];
    }),
  );

/**
 * Holds `tie_word_embeddings: true` against the tensors that are there.
 *
 * A head beside the embedding that has other numbers counts: the two are tied no longer. One with the same numbers, which some
 * programs write, is left out, so that what changes the embedding changes the head. A head without an embedding stands for
 * both.
 * Source: PreTrainedModel.tie_weights of transformers 5.24.
 * @param path names the folder in the warning
 * @returns the model as it is, and a warning where the config was wrong
 */
export const resolveTiedHead = async <M extends TieableModel>(
  files: M,
  path: string,
): Promise<{ readonly files: M; readonly warnings: readonly string[] }> => {
  const { model, rawConfig, weights, shardOf } = files;
  const [embeddingName, headName] = [embeddingTensor(model), ownHead(model)];
  const head = headName === undefined ? undefined : weights.get(headName);
  if (!model.tieWordEmbeddings || headName === undefined || !head) return { files, warnings: [] };
  const embedding = weights.get(embeddingName);
  if (embedding && !(await holdSameNumbers(embedding, head)))
    return {
      files: {
        ...files,
        model: model.untied(),
        rawConfig: { ...rawConfig, tie_word_embeddings: false },
      },
      warnings: [
        `${path}: config.json says "tie_word_embeddings": true, but the weights hold a ${headName} that differs from ${embeddingName}; both count, and nothing ties them, as in transformers 5. "tie_word_embeddings": false in config.json says so`,
      ],
    };
  const name = embedding ? undefined : embeddingName;
  return {
    files: {
      ...files,
      weights: renamed(weights, headName, name, (entry) => ({ ...entry, name: embeddingName })),
      shardOf: renamed(shardOf, headName, name),
    },
    warnings: [],
  };
};
