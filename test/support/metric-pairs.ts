import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Pair } from "../../src/metrics/pair.js";

type Row = Readonly<Record<string, unknown>>;

const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** By set: its file below data_file, the pairs made of it, and a row's reference. As scripts/reference/metric_pairs.py has them. */
export const pairSources: Readonly<
  Record<
    string,
    { readonly path: string; readonly items: number; readonly reference: (row: Row) => string }
  >
> = {
  convai2: { path: "convai2/test.json.gz", items: 200, reference: (row) => text(row["output"]) },
  samsum: { path: "samsum/test.json", items: 150, reference: (row) => text(row["summary"]) },
  dailydialog: {
    path: "dailydialog/test.jsonl",
    items: 100,
    reference: ({ dialog }) => (Array.isArray(dialog) ? text(dialog[1]) : ""),
  },
  e2e: { path: "e2e/test.jsonl", items: 60, reference: (row) => text(row["human_reference"]) },
  meta_math: {
    path: "meta_math/test.json",
    items: 60,
    reference: (row) => text(row["lSolutions"]),
  },
  imdb: { path: "imdb/test.jsonl", items: 60, reference: (row) => text(row["text"]) },
};

const readRows = (path: string): Row[] => {
  const bytes = readFileSync(path);
  const content = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  if (!path.includes(".jsonl")) return JSON.parse(content) as Row[];
  const lines = content.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Row);
};

/** Rows that follow each other and have one meaning_representation are one item with many references. */
const referencesOf = (rows: readonly Row[], reference: (row: Row) => string): string[][] => {
  const groups: string[][] = [];
  let last: unknown;
  for (const row of rows) {
    const meaning = row["meaning_representation"];
    if (meaning === undefined || meaning !== last) groups.push([]);
    last = meaning;
    groups.at(-1)?.push(reference(row));
  }
  return groups;
};

const disturb = (words: readonly string[], others: readonly string[], seed: number): string => {
  let state = (Math.imul(seed, 2654435761) + 12345) >>> 0;
  const out: string[] = [];
  for (const [i, word] of words.entries()) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const draw = (state >>> 16) % 100;
    if (draw < 10) continue;
    if (draw < 14) out.push(word, word);
    else if (draw < 22) out.push(others[i % others.length] ?? "");
    else if (draw < 26) out.push(word.toLowerCase());
    else if (draw < 29) out.push(`${word}s`);
    else if (draw < 31) out.push(`${word},`);
    else if (draw < 33) out.push("Mr.", word);
    else if (draw < 35) out.splice(Math.floor(out.length / 2), 0, word);
    else out.push(word);
  }
  return out.join(" ");
};

/** The pairs of a set, as scripts/reference/metric_pairs.py makes them. @param dataFile the folder data_file of the real sets */
export const makePairs = (name: string, dataFile: string): Pair[] => {
  const source = pairSources[name];
  if (!source) throw new RangeError(`found no set ${name}`);
  const groups = referencesOf(readRows(join(dataFile, source.path)), source.reference);
  return Array.from({ length: source.items }, (_, i) => {
    const references = [...(groups[i] ?? [])];
    if (i % 4 === 3 && references.length === 1) references.push(groups[i + 2]?.[0] ?? "");
    const [first = ""] = references;
    const next = groups[i + 1]?.[0] ?? "";
    if (i % 50 === 49) return { prediction: "", references };
    if (i % 10 === 9) return { prediction: next, references };
    return { prediction: disturb(first.split(" "), next.split(" "), i), references };
  });
};

/** Tells whether both sides have the same pairs. */
export const digestPairs = (pairs: readonly Pair[]): string =>
  createHash("sha256")
    .update(
      pairs
        .map(({ prediction, references }) => [prediction, ...references].join("\u0001"))
        .join("\0"),
    )
    .digest("hex")
    .slice(0, 16);
