import { commonsense } from "./commonsense.js";
import { math } from "./math.js";
import { mmlu } from "./mmlu.js";
import type { Scorer } from "./scorer.js";

/** Every way of scoring, by the name that --metric takes. A scorer is one file and one line here. */
export const scorers = {
  commonsense,
  math,
  mmlu,
} as const satisfies Readonly<Record<string, Scorer>>;

export type ScorerName = keyof typeof scorers;

export const scorerNames = Object.keys(scorers) as readonly ScorerName[];

export const isScorerName = (name: unknown): name is ScorerName =>
  typeof name === "string" && (scorerNames as readonly string[]).includes(name);
