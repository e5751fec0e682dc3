type Condition = (stem: string) => boolean;
type Rule = readonly [suffix: string, replacement: string, condition?: Condition];

/** Words whose stems the rules would not find. */
const irregular: ReadonlyMap<string, string> = new Map([
  ["sky", "sky"],
  ["skies", "sky"],
  ["dying", "die"],
  ["lying", "lie"],
  ["tying", "tie"],
  ["news", "news"],
  ["innings", "inning"],
  ["inning", "inning"],
  ["outings", "outing"],
  ["outing", "outing"],
  ["cannings", "canning"],
  ["canning", "canning"],
  ["howe", "howe"],
  ["proceed", "proceed"],
  ["exceed", "exceed"],
  ["succeed", "succeed"],
]);

/** Whether each character is a consonant: no vowel, and no y after a consonant. */
const consonants = (word: string): boolean[] => {
  const found: boolean[] = [];
  for (let i = 0; i < word.length; i++) {
    const character = word.charAt(i);
    found.push(character === "y" ? i === 0 || !found[i - 1] : !"aeiou".includes(character));
  }
  return found;
};

/** Porter's m: how often a consonant follows a vowel. */
const measure = (stem: string): number => {
  const found = consonants(stem);
  return found.filter((consonant, i) => i > 0 && consonant && !found[i - 1]).length;
};

const hasVowel = (stem: string): boolean => consonants(stem).includes(false);

const endsInDoubleConsonant = (word: string): boolean =>
  word.length >= 2 && word.at(-1) === word.at(-2) && consonants(word).at(-1) === true;

/** Porter's *o, the last consonant being none of w, x and y; and, as NLTK has it, a vowel and a consonant alone. */
const endsShort = (word: string): boolean => {
  const found = consonants(word);
  const ending = found.slice(-3).join();
  if (ending === "true,false,true") return !/[wxy]$/.test(word);
  return word.length === 2 && ending === "false,true";
};

const longer =
  (least: number): Condition =>
  (stem) =>
    measure(stem) >= least;

/** The first rule whose suffix fits decides, whether or not its condition holds. */
const applyRules = (word: string, rules: readonly Rule[]): string => {
  for (const [suffix, replacement, condition] of rules) {
    if (!word.endsWith(suffix)) continue;
    const stem = word.slice(0, word.length - suffix.length);
    return !condition || condition(stem) ? stem + replacement : word;
  }
  return word;
};

const countCharacters = (word: string): number => [...word].length;

const step1a = (word: string): string =>
  word.endsWith("ies") && countCharacters(word) === 4
    ? word.slice(0, -1)
    : applyRules(word, [
        ["sses", "ss"],
        ["ies", "i"],
        ["ss", "ss"],
        ["s", ""],
      ]);

const step1b = (word: string): string => {
  if (word.endsWith("ied")) return word.slice(0, countCharacters(word) === 4 ? -1 : -2);
  if (word.endsWith("eed")) return applyRules(word, [["eed", "ee", longer(1)]]);
  const suffix = ["ed", "ing"].find(
    (ending) => word.endsWith(ending) && hasVowel(word.slice(0, -ending.length)),
  );
  if (suffix === undefined) return word;
  const stem = word.slice(0, -suffix.length);
  if (/(?:at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsInDoubleConsonant(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsShort(stem) ? `${stem}e` : stem;
};

/** As NLTK has it: only after a consonant that is not the first letter. */
const step1c = (word: string): string =>
  applyRules(word, [
    ["y", "i", (stem) => countCharacters(stem) > 1 && consonants(stem).at(-1) === true],
  ]);

const step2Rules: readonly Rule[] = [
  ["ational", "ate"],
  ["tional", "tion"],
  ["enci", "ence"],
  ["anci", "ance"],
  ["izer", "ize"],
  ["bli", "ble"],
  ["alli", "al"],
  ["entli", "ent"],
  ["eli", "e"],
  ["ousli", "ous"],
  ["ization", "ize"],
  ["ation", "ate"],
  ["ator", "ate"],
  ["alism", "al"],
  ["iveness", "ive"],
  ["fulness", "ful"],
  ["ousness", "ous"],
  ["aliti", "al"],
  ["iviti", "ive"],
  ["biliti", "ble"],
  ["fulli", "ful"],
];

/** The l of logi counts with the stem. */
const logiRule: Rule = ["logi", "log", (stem) => measure(`${stem}l`) > 0];

const withCondition = (rules: readonly Rule[], condition: Condition): readonly Rule[] =>
  rules.map(([suffix, replacement]) => [suffix, replacement, condition]);

const step2All = [...withCondition(step2Rules, longer(1)), logiRule];

const step2 = (word: string): string => {
  const stem = word.slice(0, -4);
  if (word.endsWith("alli") && measure(stem) > 0) return step2(`${stem}al`);
  return applyRules(word, step2All);
};

const step3Rules = withCondition(
  [
    ["icate", "ic"],
    ["ative", ""],
    ["alize", "al"],
    ["iciti", "ic"],
    ["ical", "ic"],
    ["ful", ""],
    ["ness", ""],
  ],
  longer(1),
);

const longIon: Rule = ["ion", "", (stem) => measure(stem) > 1 && /[st]$/.test(stem)];

const dropped = (suffixes: string): readonly Rule[] =>
  suffixes.split(" ").map((suffix) => [suffix, "", longer(2)]);

const step4Rules = [
  ...dropped("al ance ence er ic able ible ant ement ment ent"),
  longIon,
  ...dropped("ou ism ate iti ous ive ize"),
];

const step5a = (word: string): string => {
  if (!word.endsWith("e")) return word;
  const stem = word.slice(0, -1);
  const m = measure(stem);
  return m > 1 || (m === 1 && !endsShort(stem)) ? stem : word;
};

const step5b = (word: string): string =>
  word.endsWith("ll") && measure(word.slice(0, -1)) > 1 ? word.slice(0, -1) : word;

/**
 * The stem of an English word in lower case.
 *
 * Source: Porter, "An algorithm for suffix stripping", Program 1980, with NLTK 3.8.1's extensions (PorterStemmer.NLTK_EXTENSIONS).
 */
export const stemWord = (word: string): string => {
  const known = irregular.get(word);
  if (known !== undefined) return known;
  if (countCharacters(word) <= 2) return word;
  const cut = step2(step1c(step1b(step1a(word))));
  return step5b(step5a(applyRules(applyRules(cut, step3Rules), step4Rules)));
};
