/**
 * Text as Python sees it, since the reference packages are written in it: what white space, a letter and a digit are.
 *
 * Source: str.isspace, str.isalnum and the classes of re for str, in CPython's Objects/unicodectype.c and Modules/_sre. JavaScript's \s
 * has U+FEFF and lacks U+001C to U+001F and U+0085; its \w and \b know ASCII only.
 */

/** The inside of a character class: Python's \s. */
export const spaceClass =
  "\\t-\\r\\u001c-\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** The inside of a character class: Python's \w. */
export const wordClass = "\\p{L}\\p{N}_";

/** Python's \b. */
export const wordBoundary = `(?:(?<=[${wordClass}])(?![${wordClass}])|(?<![${wordClass}])(?=[${wordClass}]))`;

/** Python's $ without re.MULTILINE: the end, or a line end that is the last character. */
export const textEnd = "(?=\\n?$)";

const spaces = new RegExp(`[${spaceClass}]+`, "u");
const spacesAtStart = new RegExp(`^[${spaceClass}]+`, "u");
const spacesAtEnd = new RegExp(`(?<![${spaceClass}])[${spaceClass}]+$`, "u");

/** str.strip(). */
export const stripSpace = (text: string): string => stripEnd(text.replace(spacesAtStart, ""));

/** str.rstrip(). */
export const stripEnd = (text: string): string => text.replace(spacesAtEnd, "");

/** str.split(): the runs of characters that are no white space. */
export const splitWords = (text: string): string[] =>
  text.split(spaces).filter((word) => word !== "");
