import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Answer } from "../../src/score/scorer.js";

/** SHA-256 over rows, as scripts/reference/score_reference.py reckons it. */
export const digestOf = (rows: readonly Answer[]): string =>
  createHash("sha256")
    .update(
      rows
        .map(
          ({ context, pred, gt }) =>
            `[${[context, pred, gt].map((text) => JSON.stringify(text)).join(", ")}]`,
        )
        .join("\n"),
    )
    .digest("hex");

/** The rows of convai2_rows in scripts/reference/score_reference.py: real targets, and predictions made of them. */
export const convai2Rows = (data: string): readonly Answer[] => {
  const packed = readFileSync(join(data, "convai2", "test.json.gz"));
  const rows = (
    JSON.parse(gunzipSync(packed).toString("utf8")) as { instruction: string; output: string }[]
  ).slice(0, 640);
  const targets = rows.map(({ output }) => output.trim());
  const made: Answer[] = [];
  for (const [i, row] of rows.entries()) {
    const gt = targets[i] ?? "";
    const other = targets[(i * 7 + 3) % rows.length] ?? "";
    const [words, others] = [gt.split(" "), other.split(" ")];
    const half = Math.floor(words.length / 2);
    const pred = [
      gt,
      words.filter((_, k) => k % 3 !== 2).join(" "),
      [...words.slice(0, half), ...others.slice(half)].join(" "),
      other,
      "",
      ` ${gt} Q: ${other}`,
      `${gt.toUpperCase()} TARGET: ${other}`,
      `${words.toReversed().join(" ")} R: R: `,
    ][i % 8];
    const context = i % 5 === 1 ? made.at(-1)?.context : undefined;
    made.push({ context: context ?? row.instruction, pred: pred ?? "", gt });
  }
  return made;
};

/** The rows of math_rows in scripts/reference/score_reference.py. */
export const mathRows = (data: string): readonly Answer[] => {
  const path = join(data, "llm_adapt", "gsm8k", "test.json");
  const rows = JSON.parse(readFileSync(path, "utf8")) as Record<
    "instruction" | "output" | "answer",
    string
  >[];
  return rows.map(({ instruction, output, answer }, i) => {
    const number = Math.trunc(Number(answer));
    const pred = [
      output,
      `${output} The answer is: ${answer}`,
      "The answer is: 1,234,567",
      `so The answer is: ${String(number)}.5`,
      "The answer is: none of them",
      rows[(i * 7 + 3) % rows.length]?.output,
      `The answer is: $${number.toLocaleString("en-US")}.`,
      `The answer is: ${String(number * 2)}/${String(i % 3)}`,
      `The answer is: 3, no, The answer is: ${String(number)} or ${String(number + 1)}`,
      "The answer is: \u0663 (\u00bd)",
      `The answer is:${String(number)}`,
    ][i % 11];
    return { context: instruction, pred: pred ?? "", gt: output };
  });
};
