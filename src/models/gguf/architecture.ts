import type { JsonObject } from "../../core/json-file.js";
import type { Model } from "../model.js";
import type { GgufFields } from "./gguf-fields.js";
import type { GgufTensor } from "./read-gguf.js";
import type { GgufEntries } from "./write-gguf.js";

/** A tensor of the file that no Hugging Face folder has, with its float32 values. */
export interface ExtraTensor {
  readonly name: string;
  readonly values: Float32Array;
}

/** What config.json becomes in a GGUF file. */
export interface WrittenConfig {
  readonly metadata: GgufEntries;
  readonly extra: readonly ExtraTensor[];
  /** What llama.cpp will do otherwise than transformers, for the person to read. */
  readonly warnings: readonly string[];
}

/** What has to be known of one `general.architecture`, to read it and to write it. */
export interface GgufArchitecture {
  /** The fields of config.json that follow from the metadata; what is wrong is added to the fields' faults. */
  readonly config: (fields: GgufFields, tensors: ReadonlyMap<string, GgufTensor>) => JsonObject;
  /** The Hugging Face name of a tensor; undefined for one that the model does not have. */
  readonly nameOf: (tensor: string) => string | undefined;
  /** How many heads' rotary pairs stand interleaved in the rows of a tensor of the file; undefined: rows are as they are here. */
  readonly pairedHeads: (tensor: string, config: JsonObject) => number | undefined;
  /** What else was done to a tensor of the file: its axes exchanged (a matrix), or one added to every number (a norm's weight). */
  readonly stored?: (tensor: string) => "turned" | "plus one" | undefined;
}

/** One that is written, too. */
export interface WrittenArchitecture extends GgufArchitecture {
  /** The way back: the name in the file of a tensor of the Hugging Face folder. */
  readonly ggufNameOf: (tensor: string) => string | undefined;
  /** The model_types of config.json that are written so. */
  readonly modelTypes: readonly string[];
  /** The metadata of a model, without `general.*` and the tokenizer; what cannot be said there is added to `faults`. */
  readonly write: (model: Model, rawConfig: JsonObject, faults: string[]) => WrittenConfig;
}
