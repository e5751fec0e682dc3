import { normal, requireBase, type Initializer } from "./init.js";
import { UserError } from "../core/errors.js";
import { describeTokens, unknownIds } from "../core/unknown-tokens.js";
import { weightOf, type Model } from "../models/model.js";
import { defineVirtual, type TextEncoder } from "./method.js";
import { defineOptions } from "./option-group.js";
import { virtualTokenOptions } from "./options/virtual-tokens.js";

const refuseText = (text: string, found: string, expected: string): string =>
  `Cannot start from --prompt_init_text=${JSON.stringify(text)}: found ${found}, expected ${expected}`;

const textOptions = defineOptions({
  phase: "start",
  flags: {
    prompt_init_text: {
      ours: true,
      kind: "text",
      group: "Model and method",
      placeholder: "text",
      default: null,
      help: "prompt-tuning starts from the embeddings of this text's tokens, repeated or cut to --virtual_tokens",
    },
  },
  read: ({
    prompt_init_text: text,
  }): {
    readonly promptInitText: string | undefined;
    /** The text's tokens; empty for a random start. */
    readonly promptInitIds: readonly number[];
  } => ({ promptInitText: text ?? undefined, promptInitIds: [] }),
  misplaced: ({ promptInitText: text }, { peftType, suitable }) =>
    text === undefined
      ? undefined
      : { message: refuseText(text, `--peft_type ${peftType}`, suitable.join(" or ")) },
});

/** The tokens of --prompt_init_text, without special ones. @throws {UserError} without a tokenizer or a token */
const encodeInitText = (
  text: string,
  { vocabSize }: Model,
  tokenizer: TextEncoder | undefined,
): readonly number[] => {
  const refuse = (found: string, expected: string): never => {
    throw new UserError(refuseText(text, found, expected));
  };
  if (!tokenizer) return refuse("no tokenizer in the model folder", "tokenizer.json");
  const ids = tokenizer.encode(text);
  if (ids.length === 0) return refuse("no token in it", "some text");
  const unknown = unknownIds(ids, vocabSize);
  return unknown.size === 0
    ? ids
    : refuse(
        `${describeTokens(unknown, (id) => tokenizer.decode([id]))}, which the model has no embedding for`,
        `tokens with ids from 0 to ${String(vocabSize - 1)}`,
      );
};

/** The model's embeddings of the given ids as its blocks see them, from the first again where the virtual tokens are more. */
const embeddingsOf =
  (ids: readonly number[], { embedding }: Pick<Model, "embedding">): Initializer =>
  ([count = 0, hidden = 0], _seed, _name, base) => {
    const table = requireBase(base, weightOf(embedding));
    const { scale = 1 } = embedding;
    const rows = new Float32Array(count * hidden);
    for (let row = 0; row < count; row++) {
      const id = ids[row % ids.length] ?? 0;
      rows.set(table.subarray(id * hidden, (id + 1) * hidden), row * hidden);
    }
    return scale === 1 ? rows : rows.map((value) => scale * value);
  };

/**
 * Prompt tuning: embeddings of virtual tokens in front of the text's, [virtual tokens, hidden], and nothing else.
 *
 * They start from N(0, 1), or with --prompt_init_text from the model's embeddings of that text's tokens.
 * Source: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning"; tuners/prompt_tuning of peft 0.21.2.
 */
export const promptTuning = defineVirtual({
  kind: "virtual",
  name: "prompt-tuning",
  groups: [virtualTokenOptions, textOptions],
  complete: (options, model, tokenizer) =>
    options.promptInitText === undefined
      ? {}
      : { promptInitIds: encodeInitText(options.promptInitText, model, tokenizer) },
  form: "embeddings",
  result: "embedding",
  parameters: (model, { virtualTokens, promptInitIds }) => ({
    embedding: {
      shape: [virtualTokens, model.embedding.inFeatures],
      init: promptInitIds.length > 0 ? embeddingsOf(promptInitIds, model) : normal(1),
      trainable: true,
    },
  }),
  rows(_g, { embedding }) {
    if (!embedding) throw new RangeError("Cannot build a prompt: found no embedding");
    return embedding;
  },
});
