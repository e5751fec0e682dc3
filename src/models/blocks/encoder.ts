import { multiplyDims } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import type {
  ClassifierHead,
  LinearModule,
  Model,
  ModelHooks,
  ModelInputs,
  ModelSizes,
  ModelTokenIds,
} from "../model.js";
import { activate, type ActivationName } from "./activations.js";
import {
  addLayerNorm,
  addLinear,
  cutRows,
  layerNormByPath,
  linearByPath,
  repeatLayers,
} from "./layers.js";
import { requirePositions } from "./learned-positions.js";

/** An encoder: learned positions, attention to the whole row, norms behind what they belong to. BERT and its kin. */
export interface EncoderConfig extends Omit<ModelSizes, "tieWordEmbeddings">, ModelTokenIds {
  readonly modelType: string;
  /** Rows of the table of token types; 0: there is none. */
  readonly tokenTypes: number;
  readonly epsilon: number;
  readonly activation: ActivationName;
  /** Of hidden states, in training. */
  readonly dropout: number;
  /** Of attention probabilities, in training. */
  readonly attentionDropout: number;
  /** Of what the classifier sees, in training. */
  readonly classifierDropout: number;
}

/** What a family calls its modules. */
export interface EncoderNames {
  /** In front of all, such as "bert."; files may leave it out. */
  readonly prefix: string;
  /** Below it: the tables, and the norm of their sum. */
  readonly words: string;
  readonly positions: string;
  readonly types?: string;
  readonly norm: string;
  /** Below the prefix: a layer, without its number. */
  readonly layer: string;
  /** Below a layer, in the order of computation. */
  readonly ofLayer: Readonly<
    Record<
      "query" | "key" | "value" | "output" | "attentionNorm" | "inner" | "outer" | "norm",
      string
    >
  >;
}

/** A family of encoders. */
export interface EncoderFamily {
  readonly names: EncoderNames;
  /** Whether dropout acts between attention's output and its residual sum. */
  readonly dropsAttended: boolean;
  /** A layer for the first token behind the last block, which files may lack: then there is no classifier. */
  readonly pooler?: (config: EncoderConfig) => LinearModule;
  readonly classifier: (config: EncoderConfig) => ClassifierHead;
  /** Other tensors that files hold: heads of pre-training, and buffers. */
  readonly ignores: RegExp;
  /** By names on the Hub, after how many layers states compare texts best; see Model. */
  readonly comparingLayers: Readonly<Record<string, number>>;
}

const layerPath = ({ prefix, layer }: EncoderNames, i: number): string =>
  `${prefix}${layer}.${String(i)}`;

/** In the order of computation. */
const linearsOf = (
  { hiddenSize: hidden, intermediateSize: inner, layers }: EncoderConfig,
  names: EncoderNames,
): readonly LinearModule[] =>
  Array.from({ length: layers }, (_, i) =>
    (["query", "key", "value", "output", "inner", "outer"] as const).map((part) => ({
      path: `${layerPath(names, i)}.${names.ofLayer[part]}`,
      inFeatures: part === "outer" ? inner : hidden,
      outFeatures: part === "inner" ? inner : hidden,
      bias: true,
    })),
  ).flat();

const tensorsOf = (
  config: EncoderConfig,
  names: EncoderNames,
  linears: readonly LinearModule[],
): ReadonlyMap<string, readonly number[]> => {
  const { hiddenSize: hidden } = config;
  const tensors = new Map<string, readonly number[]>([
    [`${names.prefix}${names.words}.weight`, [config.vocabSize, hidden]],
    [`${names.prefix}${names.positions}.weight`, [config.maxPositionEmbeddings, hidden]],
  ]);
  if (names.types !== undefined)
    tensors.set(`${names.prefix}${names.types}.weight`, [config.tokenTypes, hidden]);
  const norm = (path: string): void => {
    addLayerNorm(tensors, path, hidden);
  };
  norm(`${names.prefix}${names.norm}`);
  for (const module of linears) {
    const { path } = module;
    addLinear(tensors, module);
    for (const [behind, name] of [
      ["output", "attentionNorm"],
      ["outer", "norm"],
    ] as const) {
      const end = `.${names.ofLayer[behind]}`;
      const layer = path.slice(0, -end.length);
      if (path === `${layer}${end}` && /\.\d+$/.test(layer))
        norm(`${layer}.${names.ofLayer[name]}`);
    }
  }
  return tensors;
};

/** The hidden states after the last layer, or after `layers` of them, [rows, hidden]. */
const buildEncoder = (
  g: Graph,
  config: EncoderConfig,
  { names, dropsAttended }: EncoderFamily,
  { inputIds, positions, tokenTypes, maxPositions, recomputeLayers, layers }: ModelInputs,
  hooks: ModelHooks,
): Value => {
  requirePositions(maxPositions, config.maxPositionEmbeddings);
  const { hiddenSize: hidden, activation } = config;
  const [batch, seq] = inputIds.shape as [string, string];
  const rows = multiplyDims(batch, seq);
  const linear = linearByPath(g, linearsOf(config, names), hooks);
  const norm = layerNormByPath(g, hooks, config.epsilon);
  const drop = (x: Value, place: string): Value => hooks.drop?.(x, place) ?? x;
  const count = layers ?? config.layers;

  const encoderLayer = (x: Value, layer: number): Value => {
    const path = layerPath(names, layer);
    const part = (name: keyof EncoderNames["ofLayer"]): string => `${path}.${names.ofLayer[name]}`;
    const project = (name: "query" | "key" | "value"): Value =>
      g.reshape(linear(x, part(name)), [batch, seq, hidden]);
    const [q, k, v] = [project("query"), project("key"), project("value")];
    const context = g.inScope(`${path}.attention`, () => hooks.attend({ layer, q, k, v }));
    const cut = cutRows(hooks, layer === count - 1);
    const output = linear(cut(context), part("output"));
    const attended = dropsAttended ? drop(output, part("output")) : output;
    const middle = norm(g.add(attended, cut(x)), part("attentionNorm"));
    const inner = activate(g, activation, linear(middle, part("inner")));
    const result = drop(linear(inner, part("outer")), part("outer"));
    return norm(g.add(result, middle), part("norm"));
  };

  const table = (name: string, ids: Value): Value =>
    g.reshape(hooks.embed(`${names.prefix}${name}.weight`, ids), [rows, hidden]);
  const words = table(names.words, inputIds);
  const typed =
    names.types === undefined
      ? words
      : g.add(words, table(names.types, tokenTypes ?? g.mul(positions, g.scalar(0, "int64"))));
  const embeddings = `${names.prefix}${names.norm}`;
  const x = drop(norm(g.add(typed, table(names.positions, positions)), embeddings), embeddings);
  const stack = { count, pathOf: (layer: number) => layerPath(names, layer), recomputeLayers };
  return repeatLayers(g, x, stack, encoderLayer);
};

/**
 * A model of these blocks: norm(x + attention(x)), norm(x + mlp(x)). It has no output head.
 *
 * Source: Devlin et al., "BERT", 2018; modeling_bert.py and modeling_distilbert.py of transformers 5.24.
 * @param config checked
 */
export const encoderModel = (
  family: EncoderFamily,
  config: EncoderConfig,
  { hasPooler = family.pooler !== undefined }: { readonly hasPooler?: boolean } = {},
): Model => {
  const { names } = family;
  const pooler = hasPooler ? family.pooler?.(config) : undefined;
  const linears = [...linearsOf(config, names), ...(pooler ? [pooler] : [])];
  const { modelType, vocabSize, hiddenSize, intermediateSize, layers } = config;
  const { heads, kvHeads, headDim, maxPositionEmbeddings, tokenTypes } = config;
  const { bosId, eosIds, padId, dropout, attentionDropout } = config;
  const words = `${names.prefix}${names.words}`;
  const inner = `${layerPath(names, 0)}.${names.ofLayer.inner}`;
  return {
    modelType,
    ...{ causal: false, tokenTypes, dropout, attentionDropout },
    ...{ vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim },
    ...{ maxPositionEmbeddings, bosId, eosIds, padId, linears },
    tieWordEmbeddings: false,
    windows: Array<undefined>(layers).fill(undefined),
    embedding: {
      path: words,
      ...{ inFeatures: hiddenSize, outFeatures: vocabSize, bias: false, table: "embedding" },
    },
    head: undefined,
    // Without the pooler's weights there is nothing to classify with.
    ...((pooler || !family.pooler) && { classifier: family.classifier(config) }),
    tensors: tensorsOf(config, names, linears),
    prefix: names.prefix,
    fitted: (has) =>
      !pooler || has(`${pooler.path}.weight`)
        ? undefined
        : encoderModel(family, config, { hasPooler: false }),
    comparingLayers: family.comparingLayers,
    trunk: (g, inputs, hooks) => buildEncoder(g, config, family, inputs, hooks),
    logits: () => {
      throw new RangeError(`Cannot make logits: ${modelType} has no output head`);
    },
    isRedundant: (name) => family.ignores.test(name),
    shownSizes: (shapeOf) => [
      ["vocab_size", vocabSize, shapeOf(`${words}.weight`)?.[0]],
      ["hidden_size", hiddenSize, shapeOf(`${words}.weight`)?.[1]],
      [
        "max_position_embeddings",
        maxPositionEmbeddings,
        shapeOf(`${names.prefix}${names.positions}.weight`)?.[0],
      ],
      ["intermediate_size", intermediateSize, shapeOf(`${inner}.weight`)?.[0]],
    ],
    untied: () => encoderModel(family, config, { hasPooler }),
    resized: (count) => encoderModel(family, { ...config, vocabSize: count }, { hasPooler }),
  };
};
