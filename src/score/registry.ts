import { commonsense } from "./commonsense.js";
import { classification } from "./classification.js";
import { convai2 } from "./convai2.js";
import { e2e } from "./e2e.js";
import { math } from "./math.js";
import { mmlu } from "./mmlu.js";
import { rouge } from "./rouge.js";
import { text } from "./text.js";
import type { Scorer } from "./scorer.js";

/** Every way of scoring, by the name that --metric takes. A scorer is one file and one line here. */
export const scorers = {
  commonsense,
  convai2,
  math,
  mmlu,
  rouge,
  e2e,
  classification,
  text,
} as const satisfies Readonly<Record<string, Scorer>>;

/** A way of scoring, as --metric names it. */
export type ScorerName = keyof typeof scorers;

/** All values of --metric. */
export const scorerNames = Object.keys(scorers) as readonly ScorerName[];

/** Whether a value is the name of a scorer. */
export const isScorerName = (name: unknown): name is ScorerName =>
  typeof name === "string" && (scorerNames as readonly string[]).includes(name);
