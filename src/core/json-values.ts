import { linesOfFaults, UserError } from "./errors.js";
import { lineAndColumn, tryParseJson } from "./json.js";
import { nameRow } from "./row-names.js";
import { readTextFile } from "./text-file.js";

/** One value of a file and where it stands. */
export interface PlacedValue {
  /** `row 3` of an array, `line 4` of a text with a value a line, `line 4, column 9` behind another value; all from 1. */
  readonly place: string;
  readonly value: unknown;
}

/** The values of a file of JSON or JSON Lines, with their places in it. */
export interface JsonValuesFile {
  readonly values: readonly PlacedValue[];
  /** SHA-256 of the file as stored (of the compressed bytes for .gz), 64 hexadecimal digits. */
  readonly sha256: string;
}

/** A broken place: `line 2, column 9: found "}", expected a key`. */
type Fault = string;

interface Parsed {
  readonly values: readonly PlacedValue[];
  readonly faults: readonly Fault[];
}

const brokenHint =
  "The file is not valid JSON: mend that line, or fetch the file again if it was cut off";

const faultAt = (text: string, offset: number, problem: string): Fault => {
  const { line, column } = lineAndColumn(text, offset);
  return `line ${String(line)}, column ${String(column)}: ${problem}`;
};

/** A value a line, blank lines passed over. Each line may begin with a byte order mark, as where files were put together. */
const parseLines = (text: string): Parsed => {
  const values: PlacedValue[] = [];
  const faults: Fault[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const place = `line ${String(i + 1)}`;
    const parsed = tryParseJson(line);
    if ("value" in parsed) values.push({ place, value: parsed.value });
    else faults.push(`${place}, column ${String(parsed.offset + 1)}: ${parsed.problem}`);
  }
  return { values, faults };
};

/** The end of the value that begins at `start`: its closing bracket, or for other values the end of its line. */
const endOfValue = (text: string, start: number): number => {
  if (text[start] !== "{" && text[start] !== "[") {
    const end = text.indexOf("\n", start);
    return end < 0 ? text.length : end;
  }
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") {
      depth--;
      if (depth === 0) return at + 1;
    } else if (character === '"') {
      do {
        at = text.indexOf('"', at + 1);
        if (at < 0) return text.length;
      } while (isEscaped(text, at));
    }
  }
  return text.length;
};

const isEscaped = (text: string, at: number): boolean => {
  let backslashes = 0;
  while (text[at - 1 - backslashes] === "\\") backslashes++;
  return backslashes % 2 === 1;
};

const blank = /[\s\ufeff]*/y;

/** Values one behind the other, over as many lines as they take. What follows a broken one is not looked at. */
const parseSequence = (text: string): Parsed => {
  const values: PlacedValue[] = [];
  let [lineStart, line] = [0, 1];
  for (let at = 0; ;) {
    blank.lastIndex = at;
    blank.test(text);
    const start = blank.lastIndex;
    for (let next = text.indexOf("\n", lineStart); next >= 0 && next < start;) {
      lineStart = next + 1;
      line++;
      next = text.indexOf("\n", lineStart);
    }
    if (start >= text.length) return { values, faults: [] };
    at = endOfValue(text, start);
    const parsed = tryParseJson(text.slice(start, at));
    if (!("value" in parsed))
      return { values, faults: [faultAt(text, start + parsed.offset, parsed.problem)] };
    const isFirstOfLine = text.slice(lineStart, start).trim() === "";
    const column = isFirstOfLine ? "" : `, column ${String(start - lineStart + 1)}`;
    values.push({ place: `line ${String(line)}${column}`, value: parsed.value });
  }
};

/** The items of arrays in place of the arrays: a file of rows has no other use for one. */
const flatten = (values: readonly PlacedValue[]): readonly PlacedValue[] => {
  const only = values.length === 1;
  return values.flatMap(({ place, value }) =>
    Array.isArray(value)
      ? value.map((item: unknown, i) => ({
          place: only ? nameRow(i) : `${place}, item ${String(i + 1)}`,
          value: item,
        }))
      : [{ place, value }],
  );
};

/**
 * The values of a text, whatever its file is called: the items of an array, a value a line, or values one behind the
 * other over any number of lines.
 *
 * @param where names the text in errors
 * @throws {UserError} if it is none of these, with the line and column of what is broken: of every line where
 *   most lines are whole values
 */
export const parseJsonValues = (text: string, where: string): readonly PlacedValue[] => {
  if (/^[\s\ufeff]*\[/.test(text)) {
    const whole = tryParseJson(text);
    if ("value" in whole) return flatten([{ place: "line 1", value: whole.value }]);
  }
  const lines = parseLines(text);
  if (lines.faults.length === 0) return flatten(lines.values);
  const sequence = parseSequence(text);
  if (sequence.faults.length === 0) return flatten(sequence.values);
  const { faults } = lines.values.length >= lines.faults.length ? lines : sequence;
  const [first = "", ...others] = linesOfFaults(faults);
  throw new UserError(
    [`Cannot read ${where}, ${first}`, ...others.map((fault) => `  ${fault}`)].join("\n"),
    brokenHint,
  );
};

/**
 * As parseJsonValues, of a file; what is packed with gzip is unpacked.
 *
 * @throws {UserError} also if the file is missing, is damaged, or is not text
 */
export const readJsonValues = async (path: string): Promise<JsonValuesFile> => {
  const { text, sha256 } = await readTextFile(path);
  return { values: parseJsonValues(text, path), sha256 };
};
