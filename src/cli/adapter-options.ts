import { compilePattern } from "../peft/adapter-targets.js";
import type { FlagFault } from "../core/flag.js";

/** More layers than any model has: a range beyond it is a mistake, not a list to write out. */
const mostLayers = 100_000;

/** The numbers of --layers, such as `0-5,10`, rising; undefined where it is not given. What is wrong is added to `faults`. */
export const readLayers = (
  text: string | null,
  faults: FlagFault[],
): readonly number[] | undefined => {
  if (text === null) return undefined;
  const layers = new Set<number>();
  for (const part of text.split(",")) {
    const [, first = "", last = first] = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(part) ?? [];
    const [from, to] = [Number(first), Number(last)];
    if (first === "" || from > to || to > mostLayers) {
      faults.push({
        what: "--layers",
        found: JSON.stringify(text),
        expected: "layer numbers and rising ranges with commas between them, such as 0-5,10",
      });
      return undefined;
    }
    for (let layer = from; layer <= to; layer++) layers.add(layer);
  }
  return [...layers].sort((a, b) => a - b);
};

/**
 * The ranks of --rank_pattern by pattern, in the order given: a JSON object, or `pattern=rank` with commas between them.
 *
 * What is wrong is added to `faults`. Patterns that hold a comma need JSON.
 */
export const readRankPattern = (
  text: string | null,
  faults: FlagFault[],
): ReadonlyMap<string, number> => {
  if (text === null) return new Map();
  const entries = text.trim().startsWith("{") ? jsonEntries(text) : assignments(text);
  const isValid = entries?.every(
    ([pattern, rank]) => pattern !== "" && compilePattern(pattern) && isRank(rank),
  );
  if (entries !== undefined && entries.length > 0 && isValid)
    return new Map(entries as [string, number][]);
  faults.push({
    what: "--rank_pattern",
    found: JSON.stringify(text),
    expected: `regular expressions with ranks, as q_proj=8,layers.0.mlp.up_proj=4 or '{"q_proj": 8}'`,
  });
  return new Map();
};

const isRank = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) > 0;

const jsonEntries = (text: string): readonly (readonly [string, unknown])[] | undefined => {
  try {
    return Object.entries(JSON.parse(text) as object);
  } catch {
    return undefined;
  }
};

const assignments = (text: string): readonly (readonly [string, unknown])[] =>
  text.split(",").map((part) => {
    const at = part.lastIndexOf("=");
    const rank = part.slice(at + 1).trim();
    return [part.slice(0, Math.max(0, at)).trim(), /^\d+$/.test(rank) ? Number(rank) : undefined];
  });

/** The names of --modules_to_save. What is wrong is added to `faults`. */
export const readModulesToSave = (text: string | null, faults: FlagFault[]): readonly string[] => {
  if (text === null) return [];
  const names = text.split(",").map((name) => name.trim());
  // An empty ending would match every module.
  if (names.includes(""))
    faults.push({
      what: "--modules_to_save",
      found: JSON.stringify(text),
      expected: "names with one comma between them",
    });
  return names;
};
