import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { parseJsonValues, type PlacedValue } from "../core/json-values.js";
import { describeJson, isJsonObject, tryParseJson } from "../core/json.js";
import { readTextFile } from "../core/text-file.js";
import type { Answer } from "./scorer.js";

/** A file of answers as it lies on the disk. */
export interface AnswerFile {
  readonly path: string;
  /** The first two values: the flags and the adapter's configuration. */
  readonly header: readonly unknown[];
  /** The third: what the run took, or the accuracy that it has counted itself. */
  readonly third: unknown;
  readonly answers: readonly Answer[];
  /** What was mended or left out on reading, a sentence each. */
  readonly remarks: readonly string[];
}

/** The values of a broken line, or undefined where no value in it is whole. `lost`: whether the start of a row was cut off. */
const mendLine = (
  line: string,
): { readonly values: readonly unknown[]; readonly lost: boolean } | undefined => {
  const sequence = (text: string): readonly unknown[] | undefined => {
    try {
      return parseJsonValues(text, "").map(({ value }) => value);
    } catch (error) {
      if (error instanceof UserError) return undefined;
      throw error;
    }
  };
  const whole = sequence(line);
  if (whole) return { values: whole, lost: false };
  // A writer that was killed leaves the start of a row, and the next one goes on behind it: `{"context": "a{"context": ...`.
  for (let at = line.indexOf("{", 1); at >= 0; at = line.indexOf("{", at + 1)) {
    const rest = sequence(line.slice(at));
    if (!rest?.every((value) => isJsonObject(value) && "context" in value)) continue;
    // Rows before the torn one may be whole.
    const front = mendLine(line.slice(0, at).replace(/\{[^{}]*$/, ""));
    return { values: [...(front?.values ?? []), ...rest], lost: true };
  }
  return undefined;
};

interface Lines {
  readonly values: readonly PlacedValue[];
  readonly remarks: readonly string[];
}

/** The values of a text some of whose lines are torn; undefined where a line cannot be mended, but for those that compat leaves out. */
const readTornLines = (text: string, leaveOut: boolean): Lines | undefined => {
  const values: PlacedValue[] = [];
  const [lost, left]: [string[], string[]] = [[], []];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const place = `line ${String(i + 1)}`;
    const parsed = tryParseJson(line);
    const found = "value" in parsed ? { values: [parsed.value], lost: false } : mendLine(line);
    if (found) {
      for (const value of found.values) values.push({ place, value });
      if (found.lost) lost.push(place);
    } else if (leaveOut) left.push(place);
    else return undefined;
  }
  return {
    values,
    remarks: [
      ...(lost.length > 0
        ? [`left out: the start of a row that was cut off, ${lost.join(", ")}`]
        : []),
      ...(left.length > 0 ? [`left out, as the original does: ${left.join(", ")}, no JSON`] : []),
    ],
  };
};

const readValues = (text: string, path: string, compat: Compat): Lines => {
  try {
    return { values: parseJsonValues(text, path), remarks: [] };
  } catch (error) {
    const mended = error instanceof UserError && readTornLines(text, compat.has("scorer"));
    if (!mended || mended.values.length === 0) throw error;
    return mended;
  }
};

/**
 * Reads a file of answers: its rows are the objects that have `context`.
 *
 * Objects that stand one behind another in a line (`}{`), as in files that two runs have written, are told apart, and of a row
 * that was cut off and written over the rest of the line is read.
 * @throws {UserError} naming the line that is no JSON or lacks a text; under compat `scorer` lines that are no JSON are left out
 */
export const readAnswers = async (
  path: string,
  compat: Compat = new Set(),
): Promise<AnswerFile> => {
  const { text } = await readTextFile(path);
  const { values, remarks } = readValues(text, path, compat);
  const answers = values.flatMap(({ place, value }): readonly Answer[] => {
    if (!isJsonObject(value) || !("context" in value)) return [];
    const textOf = (field: string): string => {
      const found = value[field];
      if (typeof found === "string") return found;
      throw new UserError(
        `Cannot score ${path}, ${place}: found ${describeJson(found)} in ${field}, expected text`,
        "Rows need the fields context, pred and gt",
      );
    };
    const context = value["context"];
    return [
      {
        context: typeof context === "string" ? context : JSON.stringify(context),
        pred: textOf("pred"),
        gt: textOf("gt"),
      },
    ];
  });
  return {
    path,
    header: values.slice(0, 2).map(({ value }) => value),
    third: values[2]?.value,
    answers,
    remarks,
  };
};
