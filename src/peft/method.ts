import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { LinearModule } from "../models/model.js";
import type { Model } from "../models/model.js";
import type { Dropout } from "../models/blocks/dropout.js";
import type { Initializer } from "./init.js";
import type { FlagValue, OptionGroup, OptionsOf } from "./option-group.js";
import type { VirtualTokenOptions } from "./options/virtual-tokens.js";
import type { Pruning } from "./pruning.js";

/** What a method asks of one of its parameters. */
export interface ParameterSpec {
  readonly shape: readonly number[];
  /** The axes whose sizes the method's options say, as ranks; the model says the others. */
  readonly ownAxes?: readonly number[];
  readonly init: Initializer;
  /** False: saved with the adapter, but frozen. */
  readonly trainable: boolean;
}

/** The frozen tensors of a linear layer in float32: weight [out, in], bias [out]. */
export interface FrozenLinear {
  readonly weight: Value;
  readonly bias: Value | undefined;
  /**
   * Makes a value of the weight's size that the backward pass reads again. It is kept until then, or made again there, as
   * createLinearAdapter chooses by what all of them together take.
   */
  readonly hold: (build: () => Value) => Value;
}

/** How a method changes an embedding: a table [vocab, hidden] of which rows are looked up. */
export interface EmbeddingForm<Options extends object = object> extends Pick<
  LinearMethod<Options>,
  "parameters" | "mergedWeight"
> {
  /**
   * Rows of the changed table: [...ids.shape, hidden].
   *
   * @param frozen.rows the same rows of the frozen table
   * @param frozen.weight the frozen table [vocab, hidden] in float32
   */
  rows(
    g: Graph,
    ids: Value,
    frozen: { readonly rows: Value; readonly weight: () => Value },
    parameters: ParameterValues,
    options: Options,
  ): Value;
}

/** What every method says of itself. */
interface MethodFacts {
  readonly name: string;
  /** Its options, with their flags. */
  readonly groups: readonly OptionGroup[];
  /** A flag -> the other flag beside whose value alone this method reads it. */
  readonly onlyWith?: Readonly<Record<string, FlagValue>>;
  /** Why it lacks an option that its kin have, by the option's name. */
  readonly lacks?: Readonly<Record<string, string>>;
}

/**
 * A method that changes linear layers: its parameters, how a layer computes, and the merged weight.
 *
 * `linear` and `mergedWeight` come from one expression, so that a merged model is the adapted one. The options that they
 * get are those of the module: its own rank and alpha. Nobody else knows the options of a method; see defineLinear.
 */
export interface LinearMethod<Options extends object = object> extends MethodFacts {
  readonly kind: "linear";
  /** Parameters by their short names ("A", "B"); the full name is `<module path>.<short name>`. */
  parameters(module: LinearModule, options: Options): Readonly<Record<string, ParameterSpec>>;
  /** How it changes the embedding; a method without it leaves embedding and head alone. */
  readonly embedding?: EmbeddingForm<Options> | undefined;
  /** The scale of an update that is scale * B A and nothing else, A [rank, in] and B [out, rank]; absent: it is another. */
  lowRankScale?(options: Options): number;
  /** What is wrong with the rank for this module, as "expected ..."; absent, it goes from 1 to the smaller side. */
  unfit?(module: LinearModule, options: Options): string | undefined;
  /** Another method that these options make of it. */
  variant?(options: Options): LinearMethod | undefined;
  /** How training prunes the parameters; absent, it does not. */
  pruning?(options: Options): Pruning | undefined;
  /** `dropout` is for methods that have the options of options/dropout.ts. */
  linear(
    g: Graph,
    x: Value,
    frozen: FrozenLinear,
    parameters: ParameterValues,
    options: Options,
    dropout: Dropout,
  ): Value;
  mergedWeight(g: Graph, weight: Value, parameters: ParameterValues, options: Options): Value;
}

/** A method of linear layers whose functions get the options of its groups. */
export const defineLinear = <
  const Name extends string,
  const Groups extends readonly OptionGroup[],
>(
  method: LinearMethod<OptionsOf<Groups>> & { readonly name: Name; readonly groups: Groups },
): LinearMethod<OptionsOf<Groups>> & { readonly name: Name; readonly groups: Groups } => method;

/** The parameters and the merged weight of one module: an embedding has forms of its own. */
export const formOf = (
  { embedding, ...method }: LinearMethod,
  { table, path }: LinearModule,
): Pick<LinearMethod, "parameters" | "mergedWeight"> => {
  if (table === undefined) return method;
  if (!embedding) throw new RangeError(`Cannot use ${method.name} on ${path}`);
  return table === "embedding" ? embedding : method;
};

/** Full fine-tuning: the model's own tensors train. */
export interface FullMethod extends MethodFacts {
  readonly kind: "full";
}

/**
 * Virtual tokens in front of the text, which alone train: rows [virtual tokens, width], as such or made by a small encoder.
 *
 * The text's columns are numbered from --virtual_tokens on, padding included.
 */
export interface VirtualTokenMethod<
  Options extends VirtualTokenOptions = VirtualTokenOptions,
> extends MethodFacts {
  readonly kind: "virtual";
  /** What a row is: keys and values of every layer, or an embedding. */
  readonly form: "keys-values" | "embeddings";
  /** The rows' name: that of the one parameter where nothing makes them. */
  readonly result: "table" | "embedding";
  /** Parameters by their full names. */
  parameters(model: Model, options: Options): Readonly<Record<string, ParameterSpec>>;
  /** The rows from the parameters' values. */
  rows(g: Graph, parameters: ParameterValues, options: Options): Value;
  /** The options that the model and its tokenizer, where it has one, make of others. @throws {UserError} if these do not suit */
  complete?(options: Options, model: Model, tokenizer: TextEncoder | undefined): Partial<Options>;
}

/** A method of virtual tokens whose functions get the options of its groups. */
export const defineVirtual = <
  const Name extends string,
  const Groups extends readonly OptionGroup[],
>(
  method: VirtualTokenMethod<OptionsOf<Groups> & VirtualTokenOptions> & {
    readonly name: Name;
    readonly groups: Groups;
  },
): VirtualTokenMethod<OptionsOf<Groups> & VirtualTokenOptions> & {
  readonly name: Name;
  readonly groups: Groups;
} => method;

/** What turns text into token ids and back: a tokenizer. */
export interface TextEncoder {
  encode(text: string): readonly number[];
  decode(ids: readonly number[]): string;
}

/** The virtual tokens of an adapter: how many, what the model gets of them, and how that is computed. */
export interface VirtualTokens {
  readonly count: number;
  readonly form: VirtualTokenMethod["form"];
  /** The name of the parameter that holds the rows where no encoder makes them. */
  readonly result: VirtualTokenMethod["result"];
  /** Whether the rows are that parameter, and not what an encoder makes of others. */
  readonly baked: boolean;
  /** False: padding is attended to, as the authors' program does (--compat=mask). */
  readonly masksPadding: boolean;
  /** The rows [count, width], from the values of the adapter's parameters. */
  rows(g: Graph, parameter: (name: string) => Value): Value;
}

/** A way to tune a model. */
export type PeftMethod = LinearMethod | FullMethod | VirtualTokenMethod;

/** The options that a method has where nothing is given. */
export const defaultsOf = ({ groups }: Pick<PeftMethod, "groups">): object =>
  Object.assign({}, ...groups.map(({ defaults }) => defaults)) as object;

/** Those of the options that the method has. */
export const ownOptions = ({ groups }: Pick<PeftMethod, "groups">, options: object): object => {
  const known = new Set(groups.flatMap(({ defaults }) => Object.keys(defaults)));
  return Object.fromEntries(Object.entries(options).filter(([name]) => known.has(name)));
};

/** The values of one module's parameters, by their short names. */
export type ParameterValues = Readonly<Record<string, Value>>;
