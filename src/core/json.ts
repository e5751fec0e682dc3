import { messageOf, UserError } from "./errors.js";
import { standInFault } from "./stand-in.js";

/** Where and how a text leaves the grammar of JSON. */
export interface JsonProblem {
  /** In UTF-16 units from the text's start. */
  readonly offset: number;
  /** `found "}", expected a value` */
  readonly problem: string;
}

/** What may be a number beyond the largest: a long exponent, or very many digits. */
const maybeInfinite = /[\d.][eE]\+?\d{3}|\d{300}/;

/**
 * The value of a JSON text, or what is wrong with it. A leading byte order mark is skipped.
 *
 * A number that no float64 can hold, such as 1e400, is a fault, too: JSON.parse would make it Infinity.
 */
export const tryParseJson = (text: string): { readonly value: unknown } | JsonProblem => {
  const skipped = text.startsWith("\ufeff") ? 1 : 0;
  const body = text.slice(skipped);
  try {
    const value: unknown = JSON.parse(body);
    const fault = maybeInfinite.test(body) ? findJsonFault(body) : undefined;
    return fault === undefined ? { value } : problemOf(fault, skipped);
  } catch (error) {
    const fault = findJsonFault(body);
    return fault === undefined
      ? { offset: text.length, problem: messageOf(error) }
      : problemOf(fault, skipped);
  }
};

const problemOf = ({ offset, found, expected }: JsonFault, skipped: number): JsonProblem => ({
  offset: skipped + offset,
  problem: `found ${found}, expected ${expected}`,
});

/**
 * JSON.parse whose error says where the text is broken.
 *
 * A leading byte order mark is skipped. `where` names the text in the message, usually the path of its file.
 * `firstLine` is the number of the text's first line in that file.
 * @throws {UserError} if `text` is not JSON; see standInFault for what stands in a file's place
 */
export const parseJson = (text: string, where: string, firstLine = 1): unknown => {
  const parsed = tryParseJson(text);
  if ("value" in parsed) return parsed.value;
  const standIn = firstLine === 1 ? standInFault(text, where) : undefined;
  if (standIn) throw standIn;
  const { line, column } = lineAndColumn(text, parsed.offset);
  throw new UserError(
    `Cannot read ${where}, line ${String(firstLine + line - 1)}, column ${String(column)}: ${parsed.problem}`,
    "The file is not valid JSON: mend that line, or fetch the file again if it was cut off",
  );
};

/** A parsed JSON object, as opposed to an array, null or a plain value. */
export const isJsonObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What a JSON value is, for error messages: "an array", "null", "a number". */
export const describeJson = (value: unknown): string => {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
};

interface JsonFault {
  readonly offset: number;
  readonly found: string;
  readonly expected: string;
}

/** The line and column, both from 1, of a place in a text; a byte order mark at its start takes no column. */
export const lineAndColumn = (text: string, offset: number): { line: number; column: number } => {
  const before = text.slice(0, offset).replace(/^\ufeff/, "");
  return {
    line: before.split("\n").length,
    column: before.length - before.lastIndexOf("\n"),
  };
};

const whitespace = /[ \t\n\r]*/y;
const plainValue =
  /(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![\w.+-])/y;
/** Where a run of plain characters in a string ends. One pattern for a whole string would need a stack as deep as it is long. */
const endOfRun = /["\\]|[^ -\uffff]/g;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** The end of the string that begins at `start`, or undefined if it has none. */
const endOfString = (text: string, start: number): number | undefined => {
  for (let at = start + 1; ;) {
    endOfRun.lastIndex = at;
    const found = endOfRun.exec(text);
    if (found?.[0] === '"') return found.index + 1;
    if (found?.[0] !== "\\") return undefined;
    escape.lastIndex = found.index;
    if (!escape.test(text)) return undefined;
    at = escape.lastIndex;
  }
};

/** What Python writes where a number is none. */
const notFinite = /-?(?:NaN|Infinity)\b/y;

/**
 * The first place where `text` leaves the grammar of RFC 8259 or has a number beyond float64, or undefined if it never does.
 *
 * V8's own messages name a position for some faults only, so the text is walked once more after JSON.parse has failed.
 */
const findJsonFault = (text: string): JsonFault | undefined => {
  let offset = 0;
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = offset;
    if (!pattern.test(text)) return false;
    offset = pattern.lastIndex;
    return true;
  };
  const takeString = (): boolean => {
    const end = endOfString(text, offset);
    if (end === undefined) return false;
    offset = end;
    return true;
  };
  const fault = (expected: string): JsonFault => {
    const character = text.at(offset);
    return {
      offset,
      found: character === undefined ? "the end of the text" : JSON.stringify(character),
      expected,
    };
  };
  const open: ("[" | "{")[] = [];
  let state: "value" | "value or end" | "key" | "key or end" | "after value" = "value";
  for (;;) {
    take(whitespace);
    const character = text[offset];
    const inside = open.at(-1);
    if (state === "after value") {
      if (inside === undefined) return character === undefined ? undefined : fault("the end");
      const close = inside === "[" ? "]" : "}";
      if (character === ",") {
        offset++;
        state = inside === "[" ? "value" : "key";
      } else if (character === close) {
        offset++;
        open.pop();
      } else return fault(`"," or "${close}"`);
    } else if (state === "key" || state === "key or end") {
      if (character === "}" && state === "key or end") {
        offset++;
        open.pop();
        state = "after value";
        continue;
      }
      if (character !== '"') return fault("a key in double quotes");
      if (!takeString()) return fault("a complete string");
      take(whitespace);
      if (text[offset] !== ":") return fault('":"');
      offset++;
      state = "value";
    } else if (character === "]" && state === "value or end") {
      offset++;
      open.pop();
      state = "after value";
    } else if (character === "[" || character === "{") {
      offset++;
      open.push(character);
      state = character === "[" ? "value or end" : "key or end";
    } else if (character === '"') {
      if (!takeString()) return fault("a complete string");
      state = "after value";
    } else {
      const start = offset;
      const matches = take(plainValue);
      const word = matches ? text.slice(start, offset) : undefined;
      if (word !== undefined && /\d/.test(word) && !Number.isFinite(Number(word)))
        return { offset: start, found: word, expected: "a finite number" };
      if (!matches && take(notFinite))
        return { offset: start, found: text.slice(start, offset), expected: "a finite number" };
      if (!matches) return fault("a value");
      state = "after value";
    }
  }
};
