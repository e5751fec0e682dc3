import { basename } from "node:path";
import { commonsenseNames } from "./commonsense.js";

/** The scorer of each set whose answers can be scored. */
const scorerOfSet = {
  ...(Object.fromEntries(commonsenseNames.map((name) => [name, "commonsense"])) as Record<
    (typeof commonsenseNames)[number],
    "commonsense"
  >),
  convai2: "convai2",
  dailydialog: "convai2",
  meta_math: "math",
  gsm8k: "math",
  mmlu: "mmlu",
  samsum: "rouge",
  e2e_nlg: "e2e",
  e2e_cleaned: "e2e",
  sst2: "classification",
  imdb: "classification",
} as const;

/** A set whose answers can be scored. */
export type ScoredSet = keyof typeof scorerOfSet;

/** The sets whose answers can be scored: the eight of the paper's Table 1, and those of text, numbers and letters. */
export const scoredSets = Object.keys(scorerOfSet) as readonly ScoredSet[];

/** Whether a value is the name of a set whose answers can be scored. */
export const isScoredSet = (name: unknown): name is ScoredSet =>
  typeof name === "string" && (scoredSets as readonly string[]).includes(name);

/** The name of the scorer that a set has. */
export const scorerNameOf = (set: ScoredSet): (typeof scorerOfSet)[ScoredSet] => scorerOfSet[set];

/** The set that a file's name tells, by the rule of eval_commonsense.py; undefined if it tells none or several. */
export const setOfFileName = (path: string): ScoredSet | undefined => {
  const name = basename(path);
  const found = scoredSets.filter((set) => name.includes(set));
  return found.length === 1 ? found[0] : undefined;
};
