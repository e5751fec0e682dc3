import type { Compat } from "../core/compat.js";
import { encodeTexts } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { noLoss } from "./encoded-rows.js";
import type { EncodedRow } from "./encoded-rows.js";
import type { EncodedSet, EncodingOptions } from "./encoding.js";
import type { Row } from "./rows.js";
import { contextText } from "./templates.js";
import type { Template } from "./templates.js";

/** Whether training rows of a template are encoded in one piece: compat "tokens", outside template 4. */
export const isInOnePiece = (template: Template, compat: Compat = new Set()): boolean =>
  template.inOnePiece === true && compat.has("tokens");

/**
 * Training rows as train_hira.py makes them outside template 4: BOS + template + EOS in one piece, cut at its right end, where a long
 * row loses its target and EOS. They begin in column 0 and have labels of their own.
 *
 * The loss is on what follows the colon before the target, as it is meant to be; compat "loss": on everything, unless the token two
 * before the end of the context, where the original looks for that colon, is one by chance (it is the token before it, since its
 * rows begin with BOS and its contexts do not). compat "pad": labels equal to the pad id carry no loss.
 *
 * Source: format_causal_input of the HiRA authors' dataset/format_inputs.py.
 */
export const encodeInOnePiece = async (
  rows: readonly Row[],
  { tokenizer, template, maxContextTokens, compat = new Set(), encoding }: EncodingOptions,
): Promise<EncodedSet> => {
  const bos = tokenizer.bosToken ?? "";
  const eos = tokenizer.eosToken ?? "";
  const contexts = rows.map(({ context, input }) => contextText(template, context, input));
  const whole = await encodeTexts(
    tokenizer,
    rows.map(({ target }, i) => `${bos}${contexts[i] ?? ""}${target}${eos}`),
    encoding,
  );
  const asOriginal = compat.has("loss");
  const colon = colonId(tokenizer);
  const prompts = await encodeTexts(
    tokenizer,
    asOriginal ? contexts : contexts.map((context) => bos + context.trimEnd()),
    encoding,
  );
  const cutContexts: number[] = [];
  const cutTargets: number[] = [];
  const unlabelled: number[] = [];
  const wholeLengths: { context: number; target: number }[] = [];
  const encoded = rows.map((_, row): EncodedRow => {
    const all = whole.table.at(row);
    const prompt = prompts.table.at(row);
    const ids = all.subarray(0, maxContextTokens);
    const end = asOriginal ? 0 : sharedLength(all, prompt);
    const masked = asOriginal ? maskedByOriginal(ids, prompt.length, colon) : end;
    const padIsSilent = compat.has("pad");
    const labels = ids.map((id, i) =>
      i < Math.max(1, masked) || (padIsSilent && id === tokenizer.padId) ? noLoss : id,
    );
    const contextTokens = asOriginal ? Math.min(prompt.length + 1, all.length) : end;
    wholeLengths.push({ context: contextTokens, target: all.length - contextTokens });
    if (all.length > maxContextTokens) cutTargets.push(row);
    if (contextTokens > maxContextTokens) cutContexts.push(row);
    if (labels.every((label) => label === noLoss)) unlabelled.push(row);
    return { row, ids, contextLength: 0, labels };
  });
  return { rows: encoded, cutContexts, cutTargets, unlabelled, wholeLengths };
};

/** Tokens at the start that two texts have in common. */
const sharedLength = (a: Int32Array, b: Int32Array): number => {
  const differs = b.findIndex((id, i) => id !== a[i]);
  return differs < 0 ? b.length : differs;
};

/** How many tokens the original masks: up to token `contextTokens - 2` of the row if that is a colon, else none. */
const maskedByOriginal = (
  ids: Int32Array,
  contextTokens: number,
  colon: number | undefined,
): number => {
  const at = contextTokens - 2;
  return colon !== undefined && ids[at] === colon ? at + 1 : 0;
};

/** The id of the token `:`, taken from behind a letter, since some tokenizers begin a text of its own with a space. */
const colonId = (tokenizer: Pick<Tokenizer, "encode" | "decode">): number | undefined => {
  const id = tokenizer.encode("a:").at(-1);
  return id !== undefined && tokenizer.decode([id]) === ":" ? id : undefined;
};
