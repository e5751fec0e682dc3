import type { Compat } from "../core/compat.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/**
 * The `pred` of output.jsonl: the new tokens as text, cut where the answer ends. Not stripped.
 *
 * The tokens up to the first eos are decoded with special tokens kept and pad tokens left out; the text is then cut at
 * the first `Q:` and at the first `R:`, which open the next turn of a dialogue.
 *
 * compat "text": the original's way. The text of all tokens is cleaned of spaces if the tokenizer says so (" ." becomes
 * "."), the pad token's text is removed everywhere, and only then is it cut at the eos text. Where pad is eos, that
 * removes every eos, and what was generated behind one stays.
 * Source: the HiRA authors' train_hira.py.
 */
export const predictionText = (
  newTokens: readonly number[],
  tokenizer: Pick<
    Tokenizer,
    "decode" | "eosId" | "eosToken" | "padId" | "padToken" | "cleansUpSpaces"
  >,
  compat: Compat = new Set(),
): string => {
  if (compat.has("text")) {
    const decoded = tokenizer.decode(newTokens, { cleanUpSpaces: tokenizer.cleansUpSpaces });
    const text = decoded.replaceAll(tokenizer.padToken, "");
    return before(before(before(text, tokenizer.eosToken), "Q:"), "R:");
  }
  const end = tokenizer.eosId === undefined ? -1 : newTokens.indexOf(tokenizer.eosId);
  const answer = end < 0 ? newTokens : newTokens.slice(0, end);
  const text = tokenizer.decode(answer.filter((id) => id !== tokenizer.padId));
  return before(before(text, "Q:"), "R:");
};

const before = (text: string, mark: string | undefined): string =>
  mark === undefined ? text : (text.split(mark, 1)[0] ?? "");
