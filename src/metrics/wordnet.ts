import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../core/errors.js";

const partsOfSpeech = ["noun", "verb", "adj", "adv"] as const;
type PartOfSpeech = (typeof partsOfSpeech)[number];

/** Endings of inflected forms, and those of the words that they may be forms of. */
const endings: Readonly<Record<PartOfSpeech, readonly (readonly [string, string])[]>> = {
  noun: [
    ["s", ""],
    ["ses", "s"],
    ["ves", "f"],
    ["xes", "x"],
    ["zes", "z"],
    ["ches", "ch"],
    ["shes", "sh"],
    ["men", "man"],
    ["ies", "y"],
  ],
  verb: [
    ["s", ""],
    ["ies", "y"],
    ["es", "e"],
    ["es", ""],
    ["ed", "e"],
    ["ed", ""],
    ["ing", "e"],
    ["ing", ""],
  ],
  adj: [
    ["er", ""],
    ["est", ""],
    ["er", "e"],
    ["est", "e"],
  ],
  adv: [],
};

/** The words of one part of speech. */
interface Dictionary {
  readonly ending: readonly (readonly [string, string])[];
  /** Irregular forms, with the words that they are forms of. */
  readonly exceptions: ReadonlyMap<string, readonly string[]>;
  /** By word: where its sets of synonyms begin in `data`. */
  readonly senses: ReadonlyMap<string, readonly number[]>;
  /** data.<pos>, a byte a character: senses count bytes. */
  readonly data: string;
}

/** WordNet's synonyms. */
export interface WordNet {
  /** The release that the files name, such as `3.0`; undefined if they name none. */
  readonly version: string | undefined;
  /** Words that share a meaning with a word or a word that it may be a form of; names with their capitals, those of several words left out. */
  readonly synonyms: (word: string) => ReadonlySet<string>;
}

const linesOf = (text: string): readonly string[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith(" "));

const readSenses = (index: string, path: string): ReadonlyMap<string, readonly number[]> =>
  new Map(
    linesOf(index).map((line) => {
      const fields = line.trimEnd().split(" ");
      const count = Number(fields[2]);
      const senses = fields.slice(-count).map(Number);
      if (!(count > 0) || senses.length !== count || senses.some(Number.isNaN))
        throw new UserError(
          `Cannot read ${path}: found the line "${line.slice(0, 60)}", expected a word, its part of speech, and the numbers of its meanings`,
          "--wordnet takes the folder of WordNet 3.0's files: index.noun, data.noun and so on",
        );
      return [fields[0] ?? "", senses] as const;
    }),
  );

const readExceptions = (text: string): ReadonlyMap<string, readonly string[]> =>
  new Map(
    linesOf(text).map((line) => {
      const [form = "", ...words] = line.trim().split(/\s+/);
      return [form, words] as const;
    }),
  );

/** The words in the dictionary that a form may come from: by the list of exceptions, else by as few endings as possible. */
const baseForms = (form: string, { ending, exceptions, senses }: Dictionary): string[] => {
  const known = (forms: readonly string[]): string[] => [
    ...new Set(forms.filter((word) => senses.has(word))),
  ];
  const listed = exceptions.get(form);
  if (listed) return known([form, ...listed]);
  const strip = (forms: readonly string[]): string[] =>
    forms.flatMap((word) =>
      ending
        .filter(([old]) => word.endsWith(old))
        .map(([old, replacement]) => word.slice(0, word.length - old.length) + replacement),
    );
  let forms = strip([form]);
  let found = known([form, ...forms]);
  while (found.length === 0 && forms.length > 0) {
    forms = strip(forms);
    found = known(forms);
  }
  return found;
};

/** The names in the set of synonyms that begins at `sense`. */
const namesAt = (data: string, sense: number): string[] => {
  const end = data.indexOf("\n", sense);
  const fields = data.slice(sense, end < 0 ? undefined : end).split(" ");
  const count = Number.parseInt(fields[3] ?? "", 16);
  return Array.from({ length: count }, (_, i) => (fields[4 + 2 * i] ?? "").replace(/\(.*\)$/, ""));
};

/**
 * Reads WordNet from a folder with index.noun, data.noun, noun.exc and the same of verb, adj and adv.
 *
 * The words that morphy finds are those of NLTK 3.8.1, which keeps applying endings until a word is known.
 * Source: wndb(5WN) and morphy(7WN) of WordNet 3.0.
 * @throws {UserError} naming all files that are missing or cannot be read
 */
export const openWordNet = async (folder: string): Promise<WordNet> => {
  const faults: string[] = [];
  const read = async (name: string): Promise<string> =>
    readFile(join(folder, name), "latin1").catch((error: unknown) => {
      faults.push(`${name} (${messageOf(error)})`);
      return "";
    });
  const texts = await Promise.all(
    partsOfSpeech.map(async (pos) => ({
      pos,
      index: await read(`index.${pos}`),
      data: await read(`data.${pos}`),
      exceptions: await read(`${pos}.exc`),
    })),
  );
  if (faults.length > 0)
    throw new UserError(
      `Cannot read WordNet in ${folder}: found no ${faults.sort().join(", no ")}, expected index, data and exc files of noun, verb, adj and adv`,
      "Debian's package wordnet-base has them in usr/share/wordnet; nltk_data has them in corpora/wordnet",
    );
  const dictionaries = texts.map(({ pos, index, data, exceptions }): Dictionary => ({
    ending: endings[pos],
    exceptions: readExceptions(exceptions),
    senses: readSenses(index, join(folder, `index.${pos}`)),
    data,
  }));
  const cache = new Map<string, ReadonlySet<string>>();
  const look = (word: string): ReadonlySet<string> =>
    new Set(
      dictionaries.flatMap((dictionary) =>
        baseForms(word, dictionary)
          .flatMap((form) => dictionary.senses.get(form) ?? [])
          .flatMap((sense) => namesAt(dictionary.data, sense))
          .filter((name) => !name.includes("_")),
      ),
    );
  return {
    version: /WordNet (\d+(?:\.\d+)*)/.exec(texts[0]?.data.slice(0, 4000) ?? "")?.[1],
    synonyms(word) {
      const lower = word.toLowerCase();
      const known = cache.get(lower) ?? look(lower);
      cache.set(lower, known);
      return known;
    },
  };
};
