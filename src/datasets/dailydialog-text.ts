import { readZip } from "../core/archive.js";
import { UserError } from "../core/errors.js";

/**
 * A split of DailyDialog as its authors publish it, as JSON Lines of { dialog, act, emotion }.
 *
 * The zip holds three files of a line a dialogue: utterances with `__eou__` behind each, and the numbers of their acts and emotions.
 * Source: Li et al., "DailyDialog", IJCNLP 2017, readme.txt of the archive.
 * @param where names the archive in errors
 * @throws {UserError} if a file is missing, or the three do not have as many lines and numbers as they should
 */
export const dailydialogJsonLines = (zip: Buffer, where: string): string => {
  const entries = readZip(zip, where);
  const linesOf = (kind: "" | "act_" | "emotion_"): readonly string[] => {
    const name = new RegExp(`(?:^|/)dialogues_${kind}(?:train|validation|test)\\.txt$`);
    const entry = entries.find((candidate) => name.test(candidate.name));
    if (!entry)
      throw new UserError(
        `Cannot read ${where}: found ${entries.map((candidate) => candidate.name).join(", ")}, expected dialogues_${kind}<split>.txt`,
      );
    return entry.read().toString("utf8").replace(/\n$/, "").split("\n");
  };
  const [texts, acts, emotions] = [linesOf(""), linesOf("act_"), linesOf("emotion_")];
  return texts
    .map((text, i) => {
      const dialog = text.split("__eou__").map((utterance) => utterance.trim());
      while (dialog.at(-1) === "") dialog.pop();
      const numbers = (line: string | undefined): readonly number[] =>
        (line ?? "").trim().split(/\s+/).map(Number);
      const [act, emotion] = [numbers(acts[i]), numbers(emotions[i])];
      return `${JSON.stringify({ dialog, act, emotion })}\n`;
    })
    .join("");
};
