import { UserError } from "../core/errors.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { embeddingTensor, type Model } from "../models/model.js";
import type { WeightAccess } from "../models/weights/frozen-weights.js";
import { plainLinear, type Adapter, type AdapterParameter } from "./adapter.js";
import { zeros } from "./init.js";
import {
  defaultsOf,
  type ParameterSpec,
  type VirtualTokenMethod,
  type VirtualTokens,
} from "./method.js";
import type { VirtualTokenOptions } from "./options/virtual-tokens.js";
import { rowWidth } from "./row-width.js";

/**
 * An adapter of virtual tokens.
 *
 * @throws {UserError} if they leave no position for the text
 * @param options.baked true gives what a folder holds: the rows themselves, without the encoder that made them
 */
export const createVirtualAdapter = <Options extends VirtualTokenOptions>(
  method: VirtualTokenMethod<Options>,
  given: Partial<Options>,
  model: Model,
  { baked = false }: { readonly baked?: boolean } = {},
): Adapter => {
  const options = { ...defaultsOf(method), ...given } as Options;
  const { form, result } = method;
  if (options.virtualTokens >= model.maxPositionEmbeddings)
    throw new UserError(
      `Cannot use --virtual_tokens=${String(options.virtualTokens)}: expected fewer than the model's ${String(model.maxPositionEmbeddings)} positions`,
    );
  const width = rowWidth(form, model);
  const specs: Readonly<Record<string, ParameterSpec>> = baked
    ? { [result]: { shape: [options.virtualTokens, width], init: zeros, trainable: true } }
    : method.parameters(model, options);
  const names = Object.keys(specs);
  const parameters: readonly AdapterParameter[] = Object.entries(specs).map(([name, spec]) => ({
    ...spec,
    name,
    // transformers' rule; an LSTM's are bias_ih_l0 and the like.
    decays: !name.includes("bias"),
  }));
  const virtual: VirtualTokens = {
    count: options.virtualTokens,
    form,
    result,
    baked: names.length === 1 && names[0] === result,
    masksPadding: options.masksPadding,
    rows: (g, parameter) =>
      g.inScope(method.name, () =>
        baked
          ? parameter(result)
          : method.rows(
              g,
              Object.fromEntries(names.map((name) => [name, parameter(name)])),
              options,
            ),
      ),
  };
  return {
    method,
    options,
    optionsOf: () => options,
    drops: false,
    pruning: undefined,
    targets: [],
    parameters,
    virtual,
    hooks: (g, frozen, parameter) => ({
      ...frozen,
      ...(form === "embeddings" && {
        embed: embedVirtual(g, frozen, model, virtual.rows(g, parameter)),
      }),
      linear: (x, module) => plainLinear(g, frozen, x, module),
    }),
  };
};

/** The id by which the model is given virtual token `index`: ids from the vocabulary's size on are virtual. */
export const virtualId = (vocabSize: number, index: number): number => vocabSize + index;

/** Embeddings of ids of which those from `vocabSize` on are virtual tokens: rows of `rows` [count, hidden]. */
const embedVirtual =
  (
    g: Graph,
    frozen: WeightAccess,
    model: Pick<Model, "vocabSize" | "embedding">,
    rows: Value,
  ): WeightAccess["embed"] =>
  (name, ids) => {
    const { vocabSize } = model;
    // Other tables, such as learned positions, have no virtual rows.
    if (name !== embeddingTensor(model)) return frozen.embed(name, ids);
    const isText = g.lessOrEqual(ids, g.scalar(vocabSize - 1, "int64"));
    const zero = g.scalar(0, "int64");
    const textIds = g.where(isText, ids, zero);
    const virtualIds = g.where(isText, zero, g.sub(ids, g.scalar(vocabSize, "int64")));
    // They are as the blocks see them, and the model multiplies what is looked up.
    const { scale = 1 } = model.embedding;
    const unscaled = scale === 1 ? rows : g.mul(rows, g.scalar(1 / scale, rows.dtype));
    return g.where(
      g.reshape(isText, [...ids.shape, 1]),
      frozen.embed(name, textIds),
      g.gather(unscaled, virtualIds, { axis: 0 }),
    );
  };

/** Keys and values of every layer [1, kvHeads, count, headDim], of rows [count, layers * (key, value) * kvHeads * headDim]. */
export const splitPrefix = (
  g: Graph,
  rows: Value,
  { layers, kvHeads, headDim }: Pick<Model, "layers" | "kvHeads" | "headDim">,
): readonly { readonly keys: Value; readonly values: Value }[] => {
  const [count = 0] = rows.shape;
  const table = g.transpose(g.reshape(rows, [count, 2 * layers, kvHeads, headDim]), [1, 2, 0, 3]);
  const pieces = g.split(table, Array<number>(2 * layers).fill(1), 0);
  return Array.from({ length: layers }, (_, layer) => ({
    keys: pieces[2 * layer] as Value,
    values: pieces[2 * layer + 1] as Value,
  }));
};
