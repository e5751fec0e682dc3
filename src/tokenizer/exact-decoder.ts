import { isJsonObject } from "../core/json.js";

/** What is used of the engine's decoders. */
export interface EngineDecoder {
  readonly config: { readonly type?: unknown; readonly [field: string]: unknown };
  /** Of a sequence of decoders. */
  readonly decoders?: readonly EngineDecoder[];
  decode_chain(tokens: readonly string[]): readonly string[];
}

type DecodeChain = (tokens: readonly string[]) => readonly string[];

// With its mark kept: U+FEFF is text here.
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const strictUtf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/**
 * The byte that a character of a byte-level vocabulary stands for: those that print stand for themselves, the others follow from U+0100 on.
 *
 * Source: bytes_to_unicode of GPT-2's encoder.py.
 */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const bytes = new Map<string, number>();
  const prints = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++)
    bytes.set(String.fromCharCode(prints(byte) ? byte : next++), byte);
  return bytes;
})();

/** A token that is all characters of the byte alphabet is those bytes, also an added one; any other is its text. */
const byteLevel: DecodeChain = (tokens) => {
  const bytes = tokens.flatMap((token) => {
    const known = [...token].map((character) => byteOfCharacter.get(character));
    return known.every((byte) => byte !== undefined) ? known : [...Buffer.from(token)];
  });
  return [utf8.decode(Uint8Array.from(bytes))];
};

/** `<0xEF>` and the like: neighbours are one text where they are UTF-8, else a replacement character each. */
const byteFallback: DecodeChain = (tokens) => {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      texts.push(strictUtf8.decode(Uint8Array.from(bytes)));
    } catch {
      texts.push(...bytes.map(() => "\ufffd"));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const [, digits] = /^<0x(\+?[0-9a-fA-F]+)>$/.exec(token) ?? [];
    if (token.length === 6 && digits !== undefined) bytes.push(Number.parseInt(digits, 16));
    else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
};

/** The replacement is a space, and in the first token nothing. */
const metaspace = (config: EngineDecoder["config"]): DecodeChain => {
  const replacement = typeof config.replacement === "string" ? config.replacement : "\u2581";
  const dropsFirst = config.prepend_scheme !== "never";
  return (tokens) =>
    tokens.map((token, i) => token.replaceAll(replacement, i === 0 && dropsFirst ? "" : " "));
};

/**
 * A decoder of the engine with those parts replaced that differ from the tokenizers library: bytes that are no UTF-8, U+FEFF, added tokens
 * beyond ASCII, and lower blocks in the first token.
 *
 * Source: decoders/byte_level.rs, byte_fallback.rs and pre_tokenizers/metaspace.rs of tokenizers 0.23.
 */
export const exactDecoder = (decoder: EngineDecoder): DecodeChain => {
  const { config, decoders } = decoder;
  if (decoders) {
    const chains = decoders.map(exactDecoder);
    return (tokens) => chains.reduce((texts, chain) => chain(texts), tokens);
  }
  if (isJsonObject(config)) {
    if (config.type === "ByteLevel") return byteLevel;
    if (config.type === "ByteFallback") return byteFallback;
    if (config.type === "Metaspace") return metaspace(config);
  }
  return (tokens) => decoder.decode_chain(tokens);
};
