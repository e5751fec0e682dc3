import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../core/errors.js";
import { splitWords } from "./python-text.js";
import type { PunktModel } from "./sentences.js";

/**
 * Reads a Punkt model from a folder in the form of nltk's punkt_tab: abbrev_types.txt, collocations.tab, sent_starters.txt, ortho_context.tab.
 *
 * @throws {UserError} naming the files that are missing or cannot be read
 */
export const openPunktModel = async (folder: string): Promise<PunktModel> => {
  const faults: string[] = [];
  const lines = async (name: string): Promise<readonly string[]> => {
    const text = await readFile(join(folder, name), "utf8").catch((error: unknown) => {
      faults.push(`${name} (${messageOf(error)})`);
      return "";
    });
    return text.split(/\r?\n/).filter((line) => line !== "");
  };
  const [abbreviations, collocations, starters, contexts] = await Promise.all(
    ["abbrev_types.txt", "collocations.tab", "sent_starters.txt", "ortho_context.tab"].map(lines),
  );
  if (faults.length > 0)
    throw new UserError(
      `Cannot read a sentence model in ${folder}: found no ${faults.sort().join(", no ")}, expected the four files of nltk's punkt_tab`,
      "nltk_data has them in tokenizers/punkt_tab/english",
    );
  return {
    abbreviations: new Set(abbreviations),
    collocations: new Set(collocations),
    starters: new Set(starters),
    contexts: new Map(
      contexts?.map((line) => {
        const [word = "", flags] = splitWords(line);
        return [word, Number(flags)] as const;
      }),
    ),
  };
};
