import { contentHash } from "../core/content-hash.js";
import { messageOf, UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import { isJsonObject, parseJson } from "../core/json.js";
import { makeTextCutter, type AddedToken } from "./added-tokens.js";
import { exactDecoder } from "./exact-decoder.js";
import { makeEngine } from "./tokenizer-library.js";
import type { TokenizerEngine } from "./tokenizer-library.js";

/** The texts of a tokenizer's files: all that is needed to make the same tokenizer in another thread. */
export interface TokenizerSource {
  /** Stands in error messages, e.g. the model's folder. */
  readonly name: string;
  /** The model's name as the user gave it; the pad rule looks for "llama-3" in it. */
  readonly modelName: string;
  readonly tokenizerJson: string;
  readonly tokenizerConfigJson?: string | undefined;
  readonly specialTokensMapJson?: string | undefined;
}

/** What decoding leaves out of the text. */
export interface DecodeOptions {
  /** Leaves out tokens marked special. Default: false. */
  readonly skipSpecialTokens?: boolean;
  /** Removes the space before . ? ! , and in don ' t and the like, as transformers does. Default: false. */
  readonly cleanUpSpaces?: boolean;
}

/** Text to token ids and back, with the special tokens that the model was trained with. */
export interface Tokenizer {
  /** The ids of `text`. Nothing is added, but a special token's text inside `text` becomes its id. */
  encode(text: string): number[];
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The id of a token of exactly this text, as transformers' convert_tokens_to_ids has it; undefined where there is none. */
  idOf(token: string): number | undefined;
  readonly bosToken?: string | undefined;
  readonly bosId?: number | undefined;
  readonly eosToken?: string | undefined;
  readonly eosId?: number | undefined;
  readonly padToken: string;
  readonly padId: number;
  /** The largest id + 1, added tokens included. A model may have more rows than that in its embedding. */
  readonly vocabularySize: number;
  /** tokenizer_config.json's clean_up_tokenization_spaces, true where it says nothing (transformers 4.41). */
  readonly cleansUpSpaces: boolean;
  /** Of everything that decides the ids: the tokenizer's files. */
  readonly hash: string;
  readonly source: TokenizerSource;
}

type SpecialToken = "bos_token" | "eos_token" | "unk_token" | "pad_token";

// Files saved by older versions leave out what transformers' classes have as defaults.
const classDefaults: Readonly<Record<string, Partial<Record<SpecialToken, string>>>> = {
  LlamaTokenizer: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
  GPT2Tokenizer: {
    bos_token: "<|endoftext|>",
    eos_token: "<|endoftext|>",
    unk_token: "<|endoftext|>",
  },
};

/**
 * Makes a tokenizer from the texts of its files. Touches no file and no network.
 *
 * The pad token is the tokenizer's own; else, if "llama-3" is in the model's name (lower case), bos; else unk; else
 * eos. Source: the HiRA authors' train_hira.py, whose rule stops at unk.
 * @throws {UserError} if a text is not JSON, the tokenizer is of an unknown kind, a special token is not in the
 *   vocabulary, or no token can serve as pad
 */
export const makeTokenizer = (source: TokenizerSource): Tokenizer => {
  const { name } = source;
  const tokenizerJson = jsonObject(source.tokenizerJson, `${name}/tokenizer.json`);
  const config = jsonObject(source.tokenizerConfigJson ?? "{}", `${name}/tokenizer_config.json`);
  const map = jsonObject(source.specialTokensMapJson ?? "{}", `${name}/special_tokens_map.json`);

  const addedTokens = readAddedTokens(tokenizerJson.added_tokens, `${name}/tokenizer.json`);
  let engine: TokenizerEngine;
  try {
    engine = makeEngine(
      {
        ...tokenizerJson,
        // They are cut out beforehand: the engine would take them for words of its model.
        added_tokens: [],
        pre_tokenizer: splitAllDigits(tokenizerJson.pre_tokenizer),
      },
      config,
    );
  } catch (error) {
    throw new UserError(
      `Cannot make a tokenizer of ${name}/tokenizer.json: ${messageOf(error)}`,
      "Expected a tokenizer.json as the tokenizers library writes it (save_pretrained of a fast tokenizer)",
    );
  }

  const vocabulary = readVocabulary(engine, addedTokens, `${name}/tokenizer.json`);
  const { additional_special_tokens: more } = config;
  const special = new Set([
    ...addedTokens.flatMap((token) => (token.special ? [token.content] : [])),
    ...(Array.isArray(more) ? more.map(tokenText) : []),
  ]);

  const className =
    typeof config.tokenizer_class === "string" ? config.tokenizer_class.replace(/Fast$/, "") : "";
  // transformers 4.41 lets special_tokens_map.json win in folders without added_tokens_decoder, and else ignores it.
  const places = config.added_tokens_decoder === undefined ? [map, config] : [config];
  const specialToken = (which: SpecialToken): { text: string; id: number } | undefined => {
    const stated = places
      .map((place) => tokenText(place[which]))
      .find((text) => text !== undefined);
    const text = stated ?? classDefaults[className]?.[which];
    if (text === undefined) return undefined;
    const id = vocabulary.idOf(text);
    if (id !== undefined) return { text, id };
    if (stated === undefined) return undefined;
    throw new UserError(
      `Cannot use ${which} ${JSON.stringify(text)} of ${name}: found no such token in tokenizer.json`,
      "Correct tokenizer_config.json, or add the token to tokenizer.json",
    );
  };
  const [bos, eos, unk] = [
    specialToken("bos_token"),
    specialToken("eos_token"),
    specialToken("unk_token"),
  ];
  const llama3 = source.modelName.toLowerCase().includes("llama-3");
  const pad = specialToken("pad_token") ?? (llama3 ? bos : undefined) ?? unk ?? eos;
  if (pad === undefined)
    throw new UserError(
      `Cannot pad with the tokenizer of ${name}: found no pad_token, unk_token or eos_token, expected one of them`,
      'Name one in tokenizer_config.json, e.g. "pad_token": "</s>"',
    );

  const { decoder } = engine;
  const chain = decoder && exactDecoder(decoder);
  const decodeTokens = (tokens: readonly string[]): string =>
    chain ? chain(tokens).join("") : tokens.join(" ");

  return {
    encode: makeEncoder(engine, addedTokens, vocabulary),
    decode(ids, { skipSpecialTokens = false, cleanUpSpaces = false } = {}) {
      const tokens = ids.flatMap((id) => {
        const token = vocabulary.textOf(id);
        return token === undefined || (skipSpecialTokens && special.has(token)) ? [] : [token];
      });
      const text = decodeTokens(tokens);
      return cleanUpSpaces ? cleanUp(text) : text;
    },
    idOf: vocabulary.idOf,
    bosToken: bos?.text,
    bosId: bos?.id,
    eosToken: eos?.text,
    eosId: eos?.id,
    padToken: pad.text,
    padId: pad.id,
    vocabularySize: vocabulary.size,
    cleansUpSpaces: config.clean_up_tokenization_spaces !== false,
    hash: contentHash([
      source.tokenizerJson,
      source.tokenizerConfigJson ?? "",
      source.specialTokensMapJson ?? "",
    ]),
    source,
  };
};

/**
 * A pre-tokenizer in which every `Digits` has become the `Split` that does what the tokenizers library does.
 *
 * There a digit is any numeric character (general category N, so also ½ and ②); the engine's own `Digits` knows 0 to 9
 * alone, and gave other ids for such rows of HellaSwag. Source: tokenizers 0.23, pre_tokenizers/digits.rs.
 */
const splitAllDigits = (preTokenizer: unknown): unknown => {
  if (!isJsonObject(preTokenizer)) return preTokenizer;
  if (preTokenizer.type === "Sequence" && Array.isArray(preTokenizer.pretokenizers))
    return { ...preTokenizer, pretokenizers: preTokenizer.pretokenizers.map(splitAllDigits) };
  if (preTokenizer.type !== "Digits") return preTokenizer;
  return {
    type: "Split",
    pattern: { Regex: preTokenizer.individual_digits === true ? "\\p{N}" : "\\p{N}+" },
    behavior: "Isolated",
    invert: false,
  };
};

const jsonObject = (text: string, where: string): Record<string, unknown> => {
  const value = parseJson(text, where);
  if (isJsonObject(value)) return value;
  throw new UserError(`Cannot read ${where}: expected a JSON object`);
};

/** A special token is stored as its text, or as an object whose `content` is the text. */
const tokenText = (value: unknown): string | undefined => {
  if (typeof value === "string") return value;
  return isJsonObject(value) && typeof value.content === "string" ? value.content : undefined;
};

/** tokenizer.json's `added_tokens`; entries without a text are passed over, as the tokenizers library does. @throws {UserError} */
const readAddedTokens = (value: unknown, where: string): readonly AddedToken[] => {
  const faults: string[] = [];
  const tokens = (Array.isArray(value) ? value : []).flatMap((entry: unknown, i): AddedToken[] => {
    const { id, content, ...flags } = isJsonObject(entry) ? entry : {};
    if (typeof content !== "string" || typeof id !== "number" || !Number.isInteger(id) || id < 0) {
      faults.push(
        `added_tokens[${String(i)}]: found ${quoteJson(entry)}, expected an object with content, a text, and id, a whole number from 0`,
      );
      return [];
    }
    if (content === "") return [];
    const special = flags.special === true;
    return [
      {
        id,
        content,
        special,
        singleWord: flags.single_word === true,
        lstrip: flags.lstrip === true,
        rstrip: flags.rstrip === true,
        normalized: typeof flags.normalized === "boolean" ? flags.normalized : !special,
      },
    ];
  });
  if (faults.length > 0) throw userErrorOfFaults(`Cannot use ${where}`, faults);
  return tokens;
};

/** All tokens, those of the model and the added ones. */
interface TokenVocabulary {
  readonly idOf: (token: string) => number | undefined;
  readonly textOf: (id: number) => string | undefined;
  /** The largest id + 1. */
  readonly size: number;
}

/** @throws {UserError} naming the tokens whose ids are no ids, and added tokens whose id or text the model gives to another */
const readVocabulary = (
  { model, normalizer }: TokenizerEngine,
  addedTokens: readonly AddedToken[],
  where: string,
): TokenVocabulary => {
  const faults: string[] = [];
  let largest = -1;
  for (const [token, id] of model.tokens_to_ids) {
    if (Number.isInteger(id) && id >= 0) largest = Math.max(largest, id);
    else
      faults.push(
        `found the id ${String(id)} for ${JSON.stringify(token)}, expected a whole number from 0`,
      );
  }
  const [texts, ids] = [new Map<number, string>(), new Map<string, number>()];
  for (const { id, content, normalized } of addedTokens) {
    const [ofText, ofId] = [model.tokens_to_ids.get(content), model.vocab[id]];
    if (ofText !== undefined && ofText !== id)
      faults.push(
        `found the added token ${JSON.stringify(content)} with id ${String(id)}, expected ${String(ofText)}, which the vocabulary gives it`,
      );
    else if (ofId !== undefined && ofId !== content)
      faults.push(
        `found the added token ${JSON.stringify(content)} with id ${String(id)}, which the vocabulary gives to ${JSON.stringify(ofId)}, expected an id of its own`,
      );
    largest = Math.max(largest, id);
    // tokenizers 0.23 decodes a token as what it looks for.
    texts.set(id, normalized && normalizer ? normalizer(content) : content);
    ids.set(content, id);
  }
  if (faults.length > 0) throw userErrorOfFaults(`Cannot use ${where}`, faults);
  return {
    idOf: (token) => ids.get(token) ?? model.tokens_to_ids.get(token),
    textOf: (id) => texts.get(id) ?? model.vocab[id],
    size: largest + 1,
  };
};

/** Cuts a text at added tokens, and has the engine's parts do the rest between them. */
const makeEncoder = (
  { normalizer, pre_tokenizer: preTokenize, model }: TokenizerEngine,
  addedTokens: readonly AddedToken[],
  { idOf }: TokenVocabulary,
): ((text: string) => number[]) => {
  const cut = makeTextCutter(addedTokens, (text) => (normalizer ? normalizer(text) : text));
  const idsOf = (text: string, first: boolean): readonly number[] => {
    const preTokens = preTokenize ? preTokenize(text, { section_index: first ? 0 : 1 }) : [text];
    return (
      preTokens
        // One at a time: unknown letters are fused within a pre-token only.
        .flatMap((preToken) => model([preToken]))
        .flatMap(
          (token) => model.tokens_to_ids.get(token) ?? model.unk_token_id ?? idOf(token) ?? [],
        )
    );
  };
  return (text) =>
    cut(text).flatMap((part) => ("id" in part ? [part.id] : idsOf(part.text, part.first)));
};

/** Source: clean_up_tokenization of transformers' PreTrainedTokenizerBase. */
const cleanUp = (text: string): string =>
  [
    ...[" .", " ?", " !", " ,"].map((space): [string, string] => [space, space.slice(1)]),
    [" ' ", "'"] as const,
    ...[" n't", " 'm", " 's", " 've", " 're"].map((end): [string, string] => [end, end.slice(1)]),
  ].reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text);
