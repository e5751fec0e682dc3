import type { JsonObject } from "../../core/json-file.js";
import type { GgufFields } from "./gguf-fields.js";
import { preTokenizers } from "./pre-tokenizers.js";

/** Kinds of tokens in `tokenizer.ggml.token_type`. Source: enum llama_token_type of llama.h. */
const kinds = { unknown: 2, control: 3, userDefined: 4 } as const;

/** The texts of a tokenizer's files, as they would stand in a Hugging Face folder. */
export interface TokenizerFiles {
  readonly "tokenizer.json": JsonObject;
  readonly "tokenizer_config.json": JsonObject;
}

interface Parts {
  readonly fields: GgufFields;
  readonly tokens: readonly string[];
  readonly vocab: JsonObject;
  readonly unknown: string | undefined;
}

/** What each `tokenizer.ggml.model` makes of the middle of tokenizer.json. */
type Kind = (parts: Parts) => JsonObject;

const byteLevelBpe: Kind = ({ fields, vocab }) => {
  const merges = fields.texts("tokenizer.ggml.merges");
  if (!merges) fields.fault("tokenizer.ggml.merges", "a list of merges");
  const pre = fields.text("tokenizer.ggml.pre");
  const found = pre === undefined ? undefined : preTokenizers.get(pre);
  if (!found) fields.fault("tokenizer.ggml.pre", `one of ${[...preTokenizers.keys()].join(", ")}`);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return {
    normalizer: found?.normalizer ?? null,
    pre_tokenizer: found?.preTokenizer ?? null,
    decoder: { ...byteLevel, add_prefix_space: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: found?.ignoresMerges ?? false,
      vocab,
      merges: merges ?? [],
    },
  };
};

/**
 * Merges from the scores of a SentencePiece model: each piece from every two pieces that it consists of, the best score first.
 *
 * Source: generate_merges of transformers 5.24.
 */
const mergesOf = (
  tokens: readonly string[],
  scores: readonly number[],
): readonly (readonly [string, string])[] => {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges = tokens.flatMap((token, id) => {
    const pairs: { left: string; right: string; score: number; ids: readonly [number, number] }[] =
      [];
    // By code points, as Python counts: a piece never ends within one.
    const letters = [...token];
    let left = "";
    for (const letter of letters.slice(0, -1)) {
      left += letter;
      const right = token.slice(left.length);
      const [a, b] = [ids.get(left), ids.get(right)];
      if (a !== undefined && b !== undefined)
        pairs.push({ left, right, score: scores[id] ?? 0, ids: [a, b] });
    }
    return pairs.sort((a, b) => a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1]);
  });
  const length = (text: string): number => [...text].length;
  return merges
    .sort(
      (a, b) =>
        b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right),
    )
    .map(({ left, right }) => [left, right] as const);
};

const sentencePieceBpe: Kind = ({ fields, tokens, vocab, unknown }) => {
  const scores = fields.numbers("tokenizer.ggml.scores");
  if (scores?.length !== tokens.length)
    fields.fault("tokenizer.ggml.scores", `a list of ${String(tokens.length)} numbers`);
  const addsSpace = fields.flag("tokenizer.ggml.add_space_prefix") ?? true;
  const space = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    normalizer: {
      type: "Sequence",
      normalizers: [...(addsSpace ? [{ type: "Prepend", prepend: "▁" }] : []), space],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(addsSpace ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: mergesOf(tokens, scores ?? []),
    },
  };
};

const models: ReadonlyMap<string, Kind> = new Map([
  ["gpt2", byteLevelBpe],
  ["llama", sentencePieceBpe],
]);

/** Puts the begin of a text in front of it, where the model wants that; only for other programs, nothing is added here. */
const postProcessor = (begin: { readonly text: string; readonly id: number }): JsonObject => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: begin.text, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [
    { SpecialToken: { id: begin.text, type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: begin.text, type_id: 1 } },
    { Sequence: { id: "B", type_id: 1 } },
  ],
  special_tokens: {
    [begin.text]: { id: begin.text, ids: [begin.id], tokens: [begin.text] },
  },
});

/** The special tokens of Phi-3 that leave the white space behind them. Source: llama.cpp, llama-vocab.cpp. */
const phi3Plain: ReadonlySet<string> = new Set(["<unk>", "<s>", "<|endoftext|>"]);

/**
 * The tokenizer of a GGUF file as a Hugging Face folder has it.
 *
 * @returns undefined where the file has none (`no_vocab`); what is wrong is added to the fields' faults
 */
export const readGgufTokenizer = (
  fields: GgufFields,
  contextLength: number,
): TokenizerFiles | undefined => {
  const kind = fields.text("tokenizer.ggml.model");
  if (kind === undefined || kind === "no_vocab" || kind === "none") return undefined;
  const tokens = fields.texts("tokenizer.ggml.tokens");
  if (!tokens) {
    fields.fault("tokenizer.ggml.tokens", "a list of tokens");
    return undefined;
  }
  const makeModel = models.get(kind);
  if (!makeModel) {
    fields.fault("tokenizer.ggml.model", `one of ${[...models.keys()].join(", ")}`);
    return undefined;
  }
  const twice = tokens.length - new Set(tokens).size;
  if (twice > 0)
    fields.fault("tokenizer.ggml.tokens", `each token once (${String(twice)} come again)`);
  const types = fields.numbers("tokenizer.ggml.token_type") ?? [];
  const token = (name: string): { readonly id: number; readonly text: string } | undefined => {
    const id = fields.tokenId(`tokenizer.ggml.${name}_token_id`, tokens.length);
    const text = id === undefined ? undefined : tokens[id];
    return id === undefined || text === undefined ? undefined : { id, text };
  };
  const named = {
    bos_token: token("bos"),
    eos_token: token("eos"),
    unk_token: token("unknown"),
    pad_token: token("padding"),
  };
  const flags = { single_word: false, lstrip: false, normalized: false };
  const cutsBehind = kind === "llama" && fields.text("general.architecture") === "phi3";
  const added = tokens.flatMap((content, id) => {
    const type = types[id];
    const special = type === kinds.control || (kind === "llama" && type === kinds.unknown);
    return special || type === kinds.userDefined
      ? [{ id, content, ...flags, rstrip: cutsBehind && !phi3Plain.has(content), special }]
      : [];
  });
  const vocab = Object.fromEntries(tokens.map((text, id) => [text, id]));
  const parts = { fields, tokens, vocab, unknown: named.unk_token?.text };
  const addsBegin = fields.flag("tokenizer.ggml.add_bos_token") ?? kind === "llama";
  const template = fields.text("tokenizer.chat_template");
  return {
    "tokenizer.json": {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      post_processor: addsBegin && named.bos_token ? postProcessor(named.bos_token) : null,
      ...makeModel(parts),
    },
    "tokenizer_config.json": {
      tokenizer_class: "PreTrainedTokenizerFast",
      model_input_names: ["input_ids", "attention_mask"],
      clean_up_tokenization_spaces: false,
      model_max_length: contextLength,
      ...Object.fromEntries(
        Object.entries(named).flatMap(([name, found]) => (found ? [[name, found.text]] : [])),
      ),
      ...(template !== undefined && { chat_template: template }),
      added_tokens_decoder: Object.fromEntries(added.map(({ id, ...rest }) => [String(id), rest])),
    },
  };
};
