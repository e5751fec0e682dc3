import { isDeepStrictEqual } from "node:util";
import { UserError } from "../../core/errors.js";
import type { JsonObject } from "../../core/json-file.js";
import { isJsonObject, parseJson } from "../../core/json.js";
import type { Model } from "../model.js";
import { preTokenizers } from "./pre-tokenizers.js";
import type { GgufEntries, GgufTyped } from "./write-gguf.js";

/** Kinds of tokens in `tokenizer.ggml.token_type`. Source: enum llama_token_type of llama.h. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A model's small files by their names, see openCompanions. */
export type ReadCompanion = (name: string) => Promise<Buffer | undefined>;

interface TokenizerToWrite {
  readonly where: string;
  /** tokenizer.json. */
  readonly json: JsonObject;
  /** tokenizer_config.json, and special_tokens_map.json where it says nothing. */
  readonly config: JsonObject;
  readonly model: Pick<Model, "vocabSize" | "bosId" | "eosIds" | "padId">;
}

const refuse = (where: string, found: string, expected: string): UserError =>
  new UserError(
    `Cannot write the tokenizer of ${where}: found ${found}, expected ${expected}`,
    "llama.cpp knows a tokenizer by the name of its rules; convert this model with llama.cpp's own convert_hf_to_gguf.py",
  );

const objectOf = (value: unknown): JsonObject => (isJsonObject(value) ? value : {});
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const readObject = async (
  read: ReadCompanion,
  name: string,
  where: string,
): Promise<JsonObject | undefined> => {
  const content = await read(name);
  if (content === undefined) return undefined;
  return objectOf(parseJson(content.toString("utf8"), `${where}/${name}`));
};

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

const addedTokens = ({ json }: TokenizerToWrite): readonly AddedToken[] =>
  listOf(json.added_tokens).flatMap((token) => {
    const { id, content, special } = objectOf(token);
    return typeof id === "number" && typeof content === "string"
      ? [{ id, content, special: special === true }]
      : [];
  });

/** A merge of tokenizer.json, which has two forms. */
const pairOf = (merge: unknown): readonly [string, string] | undefined => {
  if (Array.isArray(merge)) return [String(merge[0]), String(merge[1])];
  const at = typeof merge === "string" ? merge.indexOf(" ") : -1;
  return typeof merge === "string" && at > 0
    ? [merge.slice(0, at), merge.slice(at + 1)]
    : undefined;
};

const mergesOf = ({ where, json }: TokenizerToWrite): readonly (readonly [string, string])[] =>
  listOf(objectOf(json.model).merges).map((merge) => {
    const pair = pairOf(merge);
    if (!pair) throw refuse(where, `the merge ${JSON.stringify(merge)}`, "two pieces");
    return pair;
  });

/** Texts and kinds of all tokens; rows of the embedding beyond the tokenizer's are named as llama.cpp's script names them. */
const tokensOf = (
  tokenizer: TokenizerToWrite,
  kindOf: (text: string) => number,
): { readonly texts: readonly string[]; readonly kinds: readonly number[] } => {
  const { where, json, model } = tokenizer;
  const count = model.vocabSize;
  const texts = Array.from({ length: count }, (_, id) => `[PAD${String(id)}]`);
  const types = Array<number>(count).fill(kinds.unused);
  const set = (id: unknown, text: string, kind: number): void => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= count)
      throw refuse(
        where,
        `the token ${JSON.stringify(text)} with the id ${String(id)}`,
        `ids below ${String(count)}, the rows of the embedding`,
      );
    texts[id] = text;
    types[id] = kind;
  };
  for (const [text, id] of Object.entries(objectOf(objectOf(json.model).vocab)))
    set(id, text, kindOf(text));
  for (const { id, content, special } of addedTokens(tokenizer))
    set(
      id,
      content,
      kindOf(content) === kinds.unknown
        ? kinds.unknown
        : special
          ? kinds.control
          : kinds.userDefined,
    );
  return { texts, kinds: types };
};

/** The pre-tokenizer of tokenizer.json by llama.cpp's name. */
const preTokenizerOf = ({ where, json }: TokenizerToWrite): string => {
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null)) as unknown;
  const ignoresMerges = objectOf(json.model).ignore_merges === true;
  for (const [name, known] of preTokenizers)
    if (
      isDeepStrictEqual(plain(json.pre_tokenizer), plain(known.preTokenizer)) &&
      isDeepStrictEqual(plain(json.normalizer), plain(known.normalizer)) &&
      ignoresMerges === (known.ignoresMerges ?? false)
    )
      return name;
  throw refuse(
    where,
    `the pre-tokenizer ${JSON.stringify(json.pre_tokenizer ?? null).slice(0, 160)}`,
    `that of one of ${[...preTokenizers.keys()].join(", ")}`,
  );
};

const byteLevelBpe = (tokenizer: TokenizerToWrite): GgufEntries => {
  const { texts, kinds: types } = tokensOf(tokenizer, () => kinds.normal);
  return [
    ["tokenizer.ggml.model", { text: "gpt2" }],
    ["tokenizer.ggml.pre", { text: preTokenizerOf(tokenizer) }],
    ["tokenizer.ggml.tokens", { texts }],
    ["tokenizer.ggml.token_type", { int32s: types }],
    ["tokenizer.ggml.merges", { texts: mergesOf(tokenizer).map((pair) => pair.join(" ")) }],
  ];
};

/** Whether a SentencePiece tokenizer puts a space before a text. */
const addsSpace = ({ json }: TokenizerToWrite): boolean => {
  const text = JSON.stringify([json.normalizer, json.pre_tokenizer]);
  return (
    text.includes('"type":"Prepend"') ||
    (text.includes('"type":"Metaspace"') && !text.includes('"prepend_scheme":"never"'))
  );
};

/** Scores of a SentencePiece model from the merges of its fast form: the earlier a piece's first merge, the better. */
const sentencePiece = (tokenizer: TokenizerToWrite): GgufEntries => {
  const unknown = objectOf(tokenizer.json.model).unk_token ?? "<unk>";
  const { texts, kinds: types } = tokensOf(tokenizer, (text) =>
    text === unknown ? kinds.unknown : /^<0x[0-9A-F]{2}>$/.test(text) ? kinds.byte : kinds.normal,
  );
  const merges = mergesOf(tokenizer);
  const rank = new Map<string, number>();
  for (const [at, pair] of merges.entries()) {
    const piece = pair.join("");
    if (!rank.has(piece)) rank.set(piece, at);
  }
  const score = (text: string, id: number): number => {
    if (types[id] === kinds.userDefined || types[id] === kinds.unused) return -1000;
    return types[id] === kinds.normal ? -(rank.get(text) ?? merges.length) : 0;
  };
  return [
    ["tokenizer.ggml.model", { text: "llama" }],
    ["tokenizer.ggml.pre", { text: "default" }],
    ["tokenizer.ggml.tokens", { texts }],
    ["tokenizer.ggml.scores", { float32s: texts.map(score) }],
    ["tokenizer.ggml.token_type", { int32s: types }],
    ["tokenizer.ggml.add_space_prefix", { bool: addsSpace(tokenizer) }],
  ];
};

const middle = (tokenizer: TokenizerToWrite): GgufEntries => {
  const model = objectOf(tokenizer.json.model);
  if (model.type !== undefined && model.type !== "BPE")
    throw refuse(tokenizer.where, `a tokenizer of the type ${JSON.stringify(model.type)}`, "BPE");
  return model.byte_fallback === true ? sentencePiece(tokenizer) : byteLevelBpe(tokenizer);
};

const textOf = (value: unknown): string | undefined =>
  typeof value === "string"
    ? value
    : isJsonObject(value) && typeof value.content === "string"
      ? value.content
      : undefined;

const idEntries = (
  ids: Readonly<Record<string, number | undefined>>,
  { vocabSize }: Pick<Model, "vocabSize">,
): [string, GgufTyped][] =>
  Object.entries(ids).flatMap(([name, id]): [string, GgufTyped][] =>
    id !== undefined && id < vocabSize ? [[`tokenizer.ggml.${name}_token_id`, { uint32: id }]] : [],
  );

/** The metadata of a model without a tokenizer, which takes and gives token ids alone. */
export const withoutTokenizer = (model: TokenizerToWrite["model"]): GgufEntries => [
  ["tokenizer.ggml.model", { text: "no_vocab" }],
  ...idEntries({ bos: model.bosId, eos: model.eosIds[0], padding: model.padId }, model),
];

/** Ids of special tokens, and whether a text begins and ends with them. */
const specials = (tokenizer: TokenizerToWrite): GgufEntries => {
  const { json, config, model } = tokenizer;
  const vocab = objectOf(objectOf(json.model).vocab);
  const added = new Map(addedTokens(tokenizer).map(({ id, content }) => [content, id]));
  const idOf = (name: string, fallback?: number): number | undefined => {
    const text = textOf(config[name]);
    const id = text === undefined ? undefined : (added.get(text) ?? vocab[text]);
    return typeof id === "number" ? id : fallback;
  };
  const ids = {
    bos: idOf("bos_token", model.bosId),
    eos: idOf("eos_token", model.eosIds[0]),
    unknown: idOf("unk_token"),
    padding: idOf("pad_token", model.padId),
  };
  const processors = JSON.stringify(json.post_processor ?? null);
  const template =
    /"single":\[(.*?)\],"pair"/.exec(processors)?.[1] ?? /"single":\[(.*?)\]/.exec(processors)?.[1];
  const isAdded = (name: string, place: RegExp): boolean => {
    const says = config[`add_${name}_token`];
    if (typeof says === "boolean") return says;
    const text = textOf(config[`${name}_token`]);
    const found = place.exec(template ?? "")?.[1];
    return found !== undefined && text !== undefined && found === JSON.stringify(text);
  };
  const entries: [string, GgufTyped][] = [...idEntries(ids, model)];
  const first = /^\{"SpecialToken":\{"id":("(?:[^"\\]|\\.)*")/;
  const last = /\{"SpecialToken":\{"id":("(?:[^"\\]|\\.)*")[^{]*$/;
  entries.push(["tokenizer.ggml.add_bos_token", { bool: isAdded("bos", first) }]);
  entries.push(["tokenizer.ggml.add_eos_token", { bool: isAdded("eos", last) }]);
  return entries;
};

/** The chat template: of tokenizer_config.json, where it may be several with names, or the file of transformers 5. */
const chatTemplates = (config: JsonObject, file: string | undefined): GgufEntries => {
  const given = config.chat_template ?? file;
  if (typeof given === "string") return [["tokenizer.chat_template", { text: given }]];
  return listOf(given).flatMap((entry): [string, GgufTyped][] => {
    const { name, template } = objectOf(entry);
    if (typeof name !== "string" || typeof template !== "string") return [];
    const key = name === "default" ? "" : `.${name}`;
    return [[`tokenizer.chat_template${key}`, { text: template }]];
  });
};

/**
 * The metadata of a model folder's tokenizer; undefined where it has no tokenizer.json.
 *
 * Source: SpecialVocab and LlamaHfVocab of gguf 0.19; get_vocab_base of llama.cpp's convert_hf_to_gguf.py.
 * @param where names the folder in errors
 * @throws {UserError} if the tokenizer is none that llama.cpp has a name for, or a file is not JSON
 */
export const ggufTokenizer = async (
  read: ReadCompanion,
  model: TokenizerToWrite["model"],
  where: string,
): Promise<GgufEntries | undefined> => {
  const json = await readObject(read, "tokenizer.json", where);
  if (json === undefined) return undefined;
  const config = {
    ...(await readObject(read, "special_tokens_map.json", where)),
    ...(await readObject(read, "tokenizer_config.json", where)),
  };
  const tokenizer = { where, json, config, model };
  const template = (await read("chat_template.jinja"))?.toString("utf8");
  return [...middle(tokenizer), ...specials(tokenizer), ...chatTemplates(config, template)];
};
