import { UserError } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";

/** A piece of a text as the model is given it: special tokens, or one of the texts. */
export type TemplatePiece =
  | { readonly kind: "tokens"; readonly ids: readonly number[]; readonly type: number }
  | { readonly kind: "text"; readonly of: "first" | "second"; readonly type: number };

/** Where the special tokens of a tokenizer stand around one text, and around two. */
export interface SpecialTokens {
  readonly single: readonly TemplatePiece[];
  readonly pair: readonly TemplatePiece[];
}

/** Nothing is put around a text; two follow each other. */
const noTokens: SpecialTokens = {
  single: [{ kind: "text", of: "first", type: 0 }],
  pair: [
    { kind: "text", of: "first", type: 0 },
    { kind: "text", of: "second", type: 0 },
  ],
};

const tokens = (id: number, type: number): TemplatePiece => ({ kind: "tokens", ids: [id], type });
const first = (type = 0): TemplatePiece => ({ kind: "text", of: "first", type });
const second = (type: number): TemplatePiece => ({ kind: "text", of: "second", type });

/** A token as [text, id]. */
const idOf = (value: unknown): number | undefined => {
  const id: unknown = Array.isArray(value) ? value[1] : undefined;
  return Number.isSafeInteger(id) ? (id as number) : undefined;
};

const templatePiece = (
  piece: unknown,
  special: Readonly<Record<string, unknown>>,
): TemplatePiece | undefined => {
  if (!isJsonObject(piece)) return undefined;
  const { Sequence: sequence, SpecialToken: token } = piece;
  if (isJsonObject(sequence) && typeof sequence.type_id === "number")
    return sequence.id === "B" ? second(sequence.type_id) : first(sequence.type_id);
  if (!isJsonObject(token) || typeof token.id !== "string" || typeof token.type_id !== "number")
    return undefined;
  const known = special[token.id];
  const ids = isJsonObject(known) ? known.ids : undefined;
  return Array.isArray(ids) && ids.every((id) => Number.isSafeInteger(id))
    ? { kind: "tokens", ids: ids as number[], type: token.type_id }
    : undefined;
};

/**
 * The special tokens of a tokenizer.json's post_processor: BERT's [CLS] text [SEP], Llama's BOS.
 *
 * Source: tokenizers 0.23, processors: TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence.
 * @throws {UserError} on one of another type, or a template that cannot be read
 */
export const readSpecialTokens = (processor: unknown, where: string): SpecialTokens => {
  if (processor === undefined || processor === null) return noTokens;
  const refuse = (): never => {
    throw new UserError(
      `Cannot use the post_processor of ${where}: found ${quoteJson(processor)}, expected a TemplateProcessing, BertProcessing or RobertaProcessing`,
    );
  };
  if (!isJsonObject(processor)) return refuse();
  const { type } = processor;
  if (type === "ByteLevel") return noTokens;
  if (type === "Sequence") {
    const parts = Array.isArray(processor.processors) ? processor.processors : refuse();
    const adding = parts.filter((part) => !(isJsonObject(part) && part.type === "ByteLevel"));
    return adding.length > 1 ? refuse() : readSpecialTokens(adding[0], where);
  }
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    const [sep, cls] = [idOf(processor.sep), idOf(processor.cls)];
    if (sep === undefined || cls === undefined) return refuse();
    const single = [tokens(cls, 0), first(), tokens(sep, 0)];
    return type === "BertProcessing"
      ? { single, pair: [...single, second(1), tokens(sep, 1)] }
      : { single, pair: [...single, tokens(sep, 0), second(0), tokens(sep, 0)] };
  }
  if (type !== "TemplateProcessing") return refuse();
  const special = isJsonObject(processor.special_tokens) ? processor.special_tokens : {};
  const read = (value: unknown): readonly TemplatePiece[] => {
    const pieces: readonly unknown[] = Array.isArray(value) ? value : refuse();
    return pieces.map((piece) => templatePiece(piece, special) ?? refuse());
  };
  return { single: read(processor.single), pair: read(processor.pair) };
};
