import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { openMeteorData } from "../../src/metrics/meteor-data.js";
import { meteor } from "../../src/metrics/meteor.js";
import { openWordNet } from "../../src/metrics/wordnet.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** A made-up dictionary of two meanings in WordNet's form. */
const writeWordNet = async (
  folder: string,
  header = "  1 WordNet 3.0 of a test\n",
): Promise<void> => {
  const at = (offset: number): string => String(offset).padStart(8, "0");
  const first = header.length;
  const line = (offset: number, pos: string, words: string): string =>
    `${at(offset)} 06 ${pos} ${words} 000 | a gloss  \n`;
  const noun = line(first, "n", "03 hut 0 cabin 0 log_house 0");
  const verb = line(first, "v", "02 stroll 0 Amble 0");
  const files: Readonly<Record<string, string>> = {
    "data.noun": header + noun,
    "index.noun": `${header}cabin n 1 0 1 0 ${at(first)}  \nhut n 1 0 1 0 ${at(first)}  \n`,
    "noun.exc": "hutten hut\n",
    "data.verb": header + verb,
    "index.verb": `${header}stroll v 1 0 1 0 ${at(first)}  \n`,
    "verb.exc": "",
    "data.adj": header,
    "index.adj": header,
    "adj.exc": "",
    "data.adv": header,
    "index.adv": header,
    "adv.exc": "",
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
};

test("openWordNet finds synonyms of a word and of the words that it is a form of", async (t) => {
  const folder = await makeTempFolder(t);
  await writeWordNet(folder);
  const { version, synonyms } = await openWordNet(folder);
  t.is(version, "3.0");
  t.deepEqual([...synonyms("Huts")], ["hut", "cabin"]);
  t.deepEqual([...synonyms("hutten")], ["hut", "cabin"]);
  t.deepEqual([...synonyms("strolled")], ["stroll", "Amble"]);
  t.deepEqual([...synonyms("toString")], []);
});

test("meteor with a dictionary matches synonyms, and says which stages ran", async (t) => {
  const folder = await makeTempFolder(t);
  await writeWordNet(folder);
  const pairs = [{ prediction: "a hut", references: ["a cabin"] }];
  const { perPair, stages, remarks } = meteor(pairs, await openMeteorData(folder));
  t.deepEqual(perPair, [1 - 0.5 / 8]);
  t.deepEqual(stages, ["exact", "stem", "wordnet"]);
  t.regex(remarks.join(" "), /WordNet 3\.0\. Sentences were told apart without/);
  const without = meteor(pairs);
  t.true(without.meteor < 0.5);
  t.deepEqual(without.stages, ["exact", "stem"]);
  t.regex(without.remarks[0] ?? "", /without WordNet's synonyms/);
});

test("another release than 3.0 is told", async (t) => {
  const folder = await makeTempFolder(t);
  await writeWordNet(folder, "  1 WordNet 3.1 of a test\n");
  const { remarks } = meteor(
    [{ prediction: "a", references: ["a"] }],
    await openMeteorData(folder),
  );
  t.true(remarks.includes("nltk's METEOR reads WordNet 3.0: values may differ."));
});

test("a folder without dictionaries, and one that lacks files, are told with what to do", async (t) => {
  const folder = await makeTempFolder(t);
  await t.throwsAsync(openMeteorData(folder), {
    message: `Cannot read WordNet in ${folder}: found neither index.noun nor corpora/wordnet/index.noun, expected one of them`,
  });
  await writeFile(join(folder, "index.noun"), "");
  await t.throwsAsync(openMeteorData(folder), { message: /found no adj\.exc .*no verb\.exc/ });
  await writeWordNet(folder);
  await writeFile(join(folder, "index.adv"), "quickly r one\n");
  await t.throwsAsync(openMeteorData(folder), {
    message: /index\.adv: found the line "quickly r one", expected a word/,
  });
});
