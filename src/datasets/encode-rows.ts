import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { listRows } from "../core/row-names.js";
import { encodeTexts } from "../tokenizer/encode-texts.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { noLoss } from "./encoded-rows.js";
import type { EncodedRow } from "./encoded-rows.js";
import { encodeInOnePiece, isInOnePiece } from "./encode-one-piece.js";
import type { DatasetMember } from "./family.js";
import type { Row } from "./rows.js";
import { contextText } from "./templates.js";
import type { Template } from "./templates.js";
import type { EncodingOptions, EncodedSet } from "./encoding.js";

/**
 * The length of training targets, in tokens.
 *
 * --max_new_tokens is about decoding. A larger one than the set's own also makes room for longer training targets, since
 * nothing else could; a smaller one does not cut them. Under compat "names" it sets the length either way, as in the
 * original.
 */
export const targetTokensInTraining = (
  maxNewTokens: number,
  flag: number | undefined,
  compat: Compat = new Set(),
): number => {
  if (flag === undefined) return maxNewTokens;
  return compat.has("names") ? flag : Math.max(maxNewTokens, flag);
};

/**
 * The length of a set's training targets, in tokens.
 *
 * Outside template 4 the original gives a target all the room that its row has, whatever --max_new_tokens: so a target may be as
 * long as a context. Template 4 has targetTokensInTraining.
 */
export const trainingTargetTokens = (
  {
    template,
    maxContextTokens,
    maxNewTokens,
  }: Pick<DatasetMember, "template" | "maxContextTokens" | "maxNewTokens">,
  flag: number | undefined,
  compat: Compat = new Set(),
): number =>
  template.inOnePiece === true
    ? Math.max(maxContextTokens, maxNewTokens, flag ?? 0)
    : targetTokensInTraining(maxNewTokens, flag, compat);

/**
 * Rows for training and validation: BOS + template with an empty target as context, then target + EOS as labels.
 *
 * A context over its limit loses the end of its *input*, so that what follows the input (`### Response:`) stays, or with `leadOf` the front of its question; a target
 * over its limit is cut at its end, and then has no EOS to learn from. compat "tokens": neither BOS nor EOS, and contexts
 * cut at their right end; compat "pad": a label equal to the pad id carries no loss.
 *
 * Where the template is in one piece, compat "tokens" encodes BOS + template + EOS as one text and cuts it at its right end, see
 * encodeInOnePiece; compat "loss": the loss runs over prompt and answer.
 *
 * Source: the HiRA authors' dataset/format_inputs.py.
 * @param options.allowsUnlabelled whether rows without a label are only counted
 * @throws {UserError} if a row would have no labelled token (all of them, up to ten)
 */
export const encodeTrainingRows = async (
  rows: readonly Row[],
  {
    maxTargetTokens,
    allowsUnlabelled = false,
    ...options
  }: EncodingOptions & { readonly maxTargetTokens: number; readonly allowsUnlabelled?: boolean },
): Promise<EncodedSet> => {
  const { tokenizer, compat = new Set(), path, encoding, template } = options;
  const asOriginal = compat.has("tokens");
  if (isInOnePiece(template, compat)) {
    const set = await encodeInOnePiece(rows, options);
    if (!allowsUnlabelled) requireLabels(set.unlabelled, path);
    return set;
  }
  const everywhere = compat.has("loss") && template.inOnePiece === true;
  const contexts = await encodeContexts(rows, options, !asOriginal);
  const eos = asOriginal ? "" : (tokenizer.eosToken ?? "");
  const targets = await encodeTexts(
    tokenizer,
    // An empty target has nothing to learn: without its EOS it is found below.
    rows.map(({ target }) => (target === "" ? "" : target + eos)),
    encoding,
  );
  const cutTargets: number[] = [];
  const targetIds = rows.map((_, row) => {
    const ids = targets.table.at(row);
    if (ids.length > maxTargetTokens) cutTargets.push(row);
    return ids.subarray(0, maxTargetTokens);
  });

  const block = new Int32Array(
    targetIds.reduce((sum, ids, row) => sum + ids.length + contexts.at(row).length, 0),
  );
  const unlabelled: number[] = [];
  let at = 0;
  const encoded = targetIds.map((target, row): EncodedRow => {
    const context = contexts.at(row);
    const ids = block.subarray(at, at + context.length + target.length);
    ids.set(context);
    ids.set(target, context.length);
    at += ids.length;
    const padIsSilent = compat.has("pad") && ids.includes(tokenizer.padId);
    // Nothing comes before the first token that could predict it.
    const unlabelledTokens = everywhere ? 1 : context.length;
    const labels =
      everywhere || padIsSilent
        ? ids.map((id, i) =>
            i < unlabelledTokens || (padIsSilent && id === tokenizer.padId) ? noLoss : id,
          )
        : undefined;
    if (target.length === 0 || labels?.every((label) => label === noLoss) === true)
      unlabelled.push(row);
    return { row, ids, contextLength: context.length, labels };
  });
  if (!allowsUnlabelled) requireLabels(unlabelled, path);
  const wholeLengths = rows.map((_, row) => ({
    context: contexts.lengthOf(row),
    target: targets.table.at(row).length,
  }));
  return { rows: encoded, cutContexts: contexts.cut, cutTargets, unlabelled, wholeLengths };
};

/**
 * Rows for decoding: BOS + template with an empty target; every token is context.
 *
 * A context over its limit is cut as in training, compat "tokens" at its right end.
 */
export const encodePrompts = async (
  rows: readonly Row[],
  options: EncodingOptions,
): Promise<Pick<EncodedSet, "rows" | "cutContexts">> => {
  const contexts = await encodeContexts(rows, options, true);
  const encoded = rows.map((_, row): EncodedRow => {
    const ids = contexts.at(row);
    return { row, ids, contextLength: ids.length };
  });
  return { rows: encoded, cutContexts: contexts.cut };
};

interface EncodedContexts {
  at(row: number): Int32Array;
  /** Before it is cut. */
  lengthOf(row: number): number;
  readonly cut: readonly number[];
}

const encodeContexts = async (
  rows: readonly Row[],
  { tokenizer, template, maxContextTokens, compat, encoding }: EncodingOptions,
  withBos: boolean,
): Promise<EncodedContexts> => {
  const bos = withBos ? (tokenizer.bosToken ?? "") : "";
  const { table } = await encodeTexts(
    tokenizer,
    rows.map(({ context, input }) => bos + contextText(template, context, input)),
    encoding,
  );
  const cut = rows.flatMap((_, row) => (table.at(row).length > maxContextTokens ? [row] : []));
  const { leadOf } = template;
  const atRightEnd = cut.length === 0 || compat?.has("tokens") === true;
  const tail = atRightEnd || leadOf ? [] : tailIds(tokenizer, template, bos, maxContextTokens);
  const shorten = (ids: Int32Array): Int32Array => {
    if (tail.length === 0) return ids.subarray(0, maxContextTokens);
    const shortened = ids.slice(0, maxContextTokens);
    shortened.set(tail, maxContextTokens - tail.length);
    return shortened;
  };
  const shortenFront = (ids: Int32Array, lead: string): Int32Array => {
    const front = tokenizer.encode(bos + lead).slice(0, maxContextTokens >> 1);
    const shortened = ids.slice(ids.length - maxContextTokens);
    shortened.set(front);
    return shortened;
  };
  const shortened = new Map(
    cut.map((row) => {
      const ids = table.at(row);
      const isCutInFront = leadOf !== undefined && !atRightEnd;
      return [
        row,
        isCutInFront ? shortenFront(ids, leadOf(rows[row]?.context ?? "")) : shorten(ids),
      ];
    }),
  );
  return {
    at: (row) => shortened.get(row) ?? table.at(row),
    lengthOf: (row) => table.at(row).length,
    cut,
  };
};

/**
 * The ids of what a template has behind the input, which take the end's place in a context that is cut.
 *
 * They are taken from behind a letter, since some tokenizers begin a text of its own with a space.
 * @throws {UserError} if not even the template alone has room
 */
const tailIds = (
  tokenizer: Tokenizer,
  template: Template,
  bos: string,
  maxTokens: number,
): readonly number[] => {
  const alone = tokenizer.encode(bos + contextText(template, "")).length;
  if (alone > maxTokens)
    throw new UserError(
      `Cannot fit a context into ${String(maxTokens)} tokens: found ${String(alone)} in the template alone`,
      "Allow more tokens",
    );
  const letter = tokenizer.encode("a");
  const withLetter = tokenizer.encode(`a${template.tail}`);
  return letter.every((id, i) => id === withLetter[i])
    ? withLetter.slice(letter.length)
    : tokenizer.encode(template.tail);
};

const requireLabels = (unlabelled: readonly number[], path: string): void => {
  if (unlabelled.length === 0) return;
  throw new UserError(
    `Cannot train on ${path}: found no labelled token in ${listRows(unlabelled)}, expected a target in every row`,
    "Fill in or remove these rows",
  );
};
