import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { StopRule } from "./search.js";

/** How far two texts are the same. */
const sharedLength = (a: string, b: string): number => {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
};

/**
 * Ends a text with the token that completes one of `strings`: the string has to reach into that token, may begin in the prompt, and need
 * not end where the token ends.
 *
 * Source: transformers' StopStringCriteria.
 */
export const stopStringRule = (
  strings: readonly string[],
  tokenizer: Pick<Tokenizer, "decode">,
): StopRule => {
  const wanted = strings.filter((text) => text !== "");
  // A token has a byte at least. One token more, since a decoder may take the space from the first one.
  const most = 1 + Math.max(...wanted.map((text) => Buffer.byteLength(text)));
  return (tokens) => {
    const tail = tokens.slice(-most);
    const text = tokenizer.decode(tail);
    // What the last token changes: half a character, too, which it makes whole.
    const old = sharedLength(tokenizer.decode(tail.slice(0, -1)), text);
    return wanted.some((string) => {
      const place = text.lastIndexOf(string);
      return place >= 0 && place + string.length > old;
    });
  };
};
