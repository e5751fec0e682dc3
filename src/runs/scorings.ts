/** How the rows of a set are answered: by what a model writes, by the likelihood of each answer, or by both. */
export const scorings = ["generate", "loglik", "both"] as const;
/** A way to answer rows; see scorings. */
export type Scoring = (typeof scorings)[number];
