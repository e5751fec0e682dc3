import { permutation } from "../../src/core/random.js";
import type { TaskRow } from "./tasks.js";

/**
 * The same rows with the answers of each kind of question dealt out at random.
 *
 * Rows that offer the same answers ("answer1/answer2/answer3") share theirs, so every row keeps a valid answer and every answer
 * comes as often as before.
 */
export const withShuffledAnswers = (rows: readonly TaskRow[], seed: number): readonly TaskRow[] => {
  const kinds = new Map<string, number[]>();
  for (const [i, { instruction }] of rows.entries()) {
    const kind = instruction.slice(instruction.lastIndexOf("Answer format:"));
    kinds.set(kind, [...(kinds.get(kind) ?? []), i]);
  }
  const dealt = [...rows];
  for (const [kind, places] of kinds) {
    const order = permutation(places.length, seed, `shuffled answers:${kind}`);
    for (const [i, place] of places.entries()) {
      const [row, from] = [rows[place], rows[places[order[i] ?? 0] ?? 0]];
      if (row && from) dealt[place] = { ...row, output: from.output, answer: from.answer };
    }
  }
  return dealt;
};
