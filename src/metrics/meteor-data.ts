import { access } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../core/errors.js";
import type { MeteorOptions } from "./meteor.js";
import { openPunktModel } from "./punkt-model.js";
import { openWordNet } from "./wordnet.js";

const firstWith = async (file: string, folders: readonly string[]): Promise<string | undefined> => {
  for (const folder of folders)
    if (
      await access(join(folder, file)).then(
        () => true,
        () => false,
      )
    )
      return folder;
  return undefined;
};

/**
 * What METEOR reads beside the texts: WordNet in `folder` itself or in corpora/wordnet below it, and Punkt's lists in it or in
 * tokenizers/punkt_tab/english, as nltk_data has them. Either may be missing.
 *
 * @throws {UserError} if neither is there, or a file of theirs cannot be read
 */
export const openMeteorData = async (folder: string): Promise<MeteorOptions> => {
  const wordnet = await firstWith("index.noun", [
    folder,
    join(folder, "dict"),
    join(folder, "corpora", "wordnet"),
  ]);
  const punkt = await firstWith("abbrev_types.txt", [
    folder,
    join(folder, "punkt_tab", "english"),
    join(folder, "tokenizers", "punkt_tab", "english"),
  ]);
  if (wordnet === undefined && punkt === undefined)
    throw new UserError(
      `Cannot read WordNet in ${folder}: found neither index.noun nor corpora/wordnet/index.noun, expected one of them`,
      "Debian's package wordnet-base has WordNet 3.0 in usr/share/wordnet; an nltk_data folder with corpora/wordnet and tokenizers/punkt_tab fits too (unzipped)",
    );
  return {
    wordnet: wordnet === undefined ? undefined : await openWordNet(wordnet),
    punkt: punkt === undefined ? undefined : await openPunktModel(punkt),
  };
};
