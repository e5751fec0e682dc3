import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";

/**
 * A linear layer of a model: y = x weight^T + bias, weight [outFeatures, inFeatures]. Or a table with a row a token: the output
 * head, which is such a layer, or the embedding, whose rows are looked up.
 */
export interface LinearModule {
  /** Its path in the checkpoint, such as "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  readonly inFeatures: number;
  /** Of a table, the vocabulary's size. */
  readonly outFeatures: number;
  readonly bias: boolean;
  /** Absent for layers of the blocks. */
  readonly table?: "embedding" | "head";
  /** How the file lays its weight out: absent, [outFeatures, inFeatures]. Every formula sees that; see turnLayout. */
  readonly layout?: "in-out";
  /** Of an embedding: by what the model multiplies the rows that are looked up; 1 unless given. */
  readonly scale?: number;
  /** The tensor of its weight where that is not `<path>.weight`: a tied head's is the embedding. */
  readonly weight?: string;
}

/** The name of the tensor that a module computes with. */
export const weightOf = ({ path, weight = `${path}.weight` }: LinearModule): string => weight;

/** The shape of a linear layer's weight as files have it. */
export const storedShape = ({
  inFeatures,
  outFeatures,
  layout,
}: LinearModule): readonly number[] =>
  layout === "in-out" ? [inFeatures, outFeatures] : [outFeatures, inFeatures];

/** A weight in the layout of its file from [outFeatures, inFeatures], or the other way round. */
export const turnLayout = (g: Graph, weight: Value, { layout }: LinearModule): Value =>
  layout === "in-out" ? g.turn(weight) : weight;

/** What a layer's attention computes with; positions have been put into q and k, where the model does so. */
export interface AttentionInputs {
  readonly layer: number;
  /** [batch, seq, heads * headDim] */
  readonly q: Value;
  /** [batch, seq, kvHeads * headDim] */
  readonly k: Value;
  /** [batch, seq, kvHeads * headDim] */
  readonly v: Value;
  /** Of the scores; headDim^(-1/2) unless given. */
  readonly scale?: number;
  /** Scores s become softcap * tanh(s / softcap). */
  readonly softcap?: number;
}

/**
 * What a model leaves open, filled by training and decoding: where its tensors come from, how a linear layer computes
 * (that is where a PEFT method lives), and what attention attends to (the batch itself, or a cache).
 */
export interface ModelHooks {
  /** A tensor of the checkpoint in float32. `kept`: backward needs it right after forward, so it is not made again. */
  weight(name: string, options?: { readonly kept?: boolean }): Value;
  /** Rows of an embedding table in float32: [...ids.shape, hidden]. */
  embed(name: string, ids: Value): Value;
  /** y [rows, outFeatures] of x [rows, inFeatures]; the output head is among the modules. */
  linear(x: Value, module: LinearModule): Value;
  /** The context vectors, [batch * seq, heads * headDim]. */
  attend(inputs: AttentionInputs): Value;
  /**
   * Dropout of the model's own, on x [rows, hidden]; a place has a name of its own, and may have a rate of its config's. Absent:
   * nothing is dropped.
   */
  readonly drop?: (x: Value, place: string, rate?: number) => Value;
  /** Cuts [batch * seq, width] down to the rows that are needed after the last layer's attention. */
  readonly lastRows?: (x: Value) => Value;
}

/** What a model's graph is built from. */
export interface ModelInputs {
  /** int64 [batch, seq] */
  readonly inputIds: Value;
  /** int64 [batch, seq]: each token's place in its row, below `maxPositions`. */
  readonly positions: Value;
  /** int64 [batch, seq], below the model's `tokenTypes`; all 0 unless given. */
  readonly tokenTypes?: Value;
  /** How many positions there are at most. */
  readonly maxPositions: number;
  /** True lets the backward pass compute each layer again from its input (gradient checkpointing). */
  readonly recomputeLayers?: boolean;
  /** Of an encoder: how many layers are computed, from the first on; all unless given. */
  readonly layers?: number;
}

/** What the rooms above know of a model's sizes. */
export interface ModelSizes {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** The MLP's inner width. */
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`: each key/value head serves heads / kvHeads query heads. */
  readonly kvHeads: number;
  /** heads * headDim may differ from hiddenSize. */
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
  /** Whether the output head is the embedding table. */
  readonly tieWordEmbeddings: boolean;
}

/** The token ids that config.json names. */
export interface ModelTokenIds {
  readonly bosId: number | undefined;
  /** A model may have several tokens that end a text. */
  readonly eosIds: readonly number[];
  readonly padId: number | undefined;
}

/**
 * How a family makes a class out of a text, as transformers' <Family>ForSequenceClassification does: from the hidden state of one
 * token of the row.
 */
export interface ClassifierHead {
  /** The class of transformers, which config.json names: <Family>ForSequenceClassification. */
  readonly architecture: string;
  /** Whose hidden state stands for the row: its first token's, or its last real one's. */
  readonly pools: "first" | "last";
  /** The rate of `drop` in the head, in training. */
  readonly dropout: number;
  /** The layers in it, in the order of computation, named as in transformers; they train in full. The last one makes the logits. */
  linears(labels: number): readonly LinearModule[];
  /** Logits [rows, labels] of hidden states [rows, hidden]. */
  logits(
    g: Graph,
    hidden: Value,
    labels: number,
    hooks: Pick<ModelHooks, "linear" | "drop">,
  ): Value;
}

/**
 * All that the rooms above know of a model: sizes, names, and how its graph is built. Which family it is of stays behind these
 * functions (see defineFamily).
 */
export interface Model extends ModelSizes, ModelTokenIds {
  /** model_type of config.json. */
  readonly modelType: string;
  /** Whether a token sees those before it alone; else it sees the whole row (an encoder). */
  readonly causal: boolean;
  /** Rows of the table of token types; 0: the model has none. */
  readonly tokenTypes: number;
  /** Of hidden states, in training, and the highest where places differ; undefined for a model that has no place for it. */
  readonly dropout: number | undefined;
  /** Of attention probabilities, in training. */
  readonly attentionDropout: number;
  /** By layer, how many tokens back a token sees, itself included; undefined: all. */
  readonly windows: readonly (number | undefined)[];
  /** The linear layers of the blocks, in the order of the forward pass. */
  readonly linears: readonly LinearModule[];
  /** The token embedding. */
  readonly embedding: LinearModule;
  /** The output head, undefined in an encoder; where it is tied, its `weight` is the embedding's tensor. */
  readonly head: LinearModule | undefined;
  /** What makes a classifier of it (see classifierModel); absent in families that have none. */
  readonly classifier?: ClassifierHead;
  /** The names of the classes that a classifier tells apart: its `logits` are [rows, labels]. Absent in a language model. */
  readonly labels?: readonly string[];
  /**
   * Every tensor by its Hugging Face name, with its shape in files; see storedShape. In the order of transformers'
   * state_dict, in which shards are filled. A tied head's is not among them.
   */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /** What files may leave out in front of its names, such as "transformer."; absent: nothing. */
  readonly prefix?: string;
  /** By names on the Hub, after how many layers the states compare texts best (BERTScore); absent: nobody has looked. */
  readonly comparingLayers?: Readonly<Record<string, number>>;
  /**
   * The hidden states after the last norm, [rows, hidden]; rows = batch * seq, or what `hooks.lastRows` leaves of them.
   */
  trunk(g: Graph, inputs: ModelInputs, hooks: ModelHooks): Value;
  /** Logits [rows, vocab] of hidden states [rows, hidden]. @throws {RangeError} without a head */
  logits(g: Graph, hidden: Value, hooks: Pick<ModelHooks, "linear" | "drop">): Value;
  /** Whether a file may hold this tensor though the model computes or shares it. */
  isRedundant(tensor: string): boolean;
  /** The same model without a part that is not in the files, if it does without it; undefined: nothing such is missing. */
  readonly fitted?: (has: (tensor: string) => boolean) => Model | undefined;
  /** Sizes that the tensors of a file show, by the words of config.json, beside what it says of them. */
  shownSizes(shapeOf: ShapeOf): readonly ShownSize[];
  /** The same model with a head of its own. */
  untied(): Model;
  /** The same model with so many tokens. */
  resized(vocabSize: number): Model;
}

/** The shape of a tensor in a file, if it is there. */
export type ShapeOf = (tensor: string) => readonly number[] | undefined;

/** A size by the words of config.json, what that says, and what the tensors show; undefined where they do not. */
export type ShownSize = readonly [name: string, says: number, shows: number | undefined];

/** The name of the tensor of a head that is not tied; undefined where the model has no head. */
export const ownHead = ({ head }: Pick<Model, "head">): string | undefined =>
  head && `${head.path}.weight`;

/** The output head of a model that is known to have one. @throws {RangeError} otherwise */
export const requireHead = ({ head }: Pick<Model, "head">): LinearModule => {
  if (!head) throw new RangeError("Cannot find the output head: this model has none");
  return head;
};

/** The name of the embedding's tensor. */
export const embeddingTensor = ({ embedding }: Pick<Model, "embedding">): string =>
  weightOf(embedding);

/** The two modules with a row a token, [vocab, width]; the head of a tied model computes with the embedding's tensor. */
export const tokenTables = (
  embeddingPath: string,
  {
    vocabSize,
    width,
    tied,
    scale,
  }: {
    readonly vocabSize: number;
    readonly width: number;
    readonly tied: boolean;
    readonly scale?: number;
  },
): { readonly embedding: LinearModule; readonly head: LinearModule } => {
  const size = { inFeatures: width, outFeatures: vocabSize, bias: false } as const;
  return {
    embedding: {
      path: embeddingPath,
      ...size,
      table: "embedding",
      ...(scale !== undefined && { scale }),
    },
    head: {
      path: "lm_head",
      ...size,
      table: "head",
      ...(tied && { weight: `${embeddingPath}.weight` }),
    },
  };
};

/** What an adapter may change: the linear layers, then the embedding and the head. */
export const adaptableModules = ({
  linears,
  embedding,
  head,
}: Pick<Model, "linears" | "embedding" | "head">): readonly LinearModule[] => [
  ...linears,
  embedding,
  ...(head ? [head] : []),
];
