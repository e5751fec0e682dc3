import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { UserError } from "../../src/core/errors.js";
import type { Bench } from "./bench.js";
import { scaleTables } from "./scale-tables.js";

/** Lines between which a table stands in a document. */
const begin = (name: string): string => `<!-- table ${name}: npm run bench -- scale --write -->`;
const end = (name: string): string => `<!-- end of ${name} -->`;

/**
 * A document with its tables made anew.
 *
 * @throws {UserError} if the place of one is missing
 */
export const withScaleTables = (text: string): string =>
  Object.entries(scaleTables()).reduce((whole, [name, lines]) => {
    const [from, to] = [whole.indexOf(begin(name)), whole.indexOf(end(name))];
    if (from < 0 || to < from)
      throw new UserError(
        `Cannot write the table "${name}": found no place for it in the document`,
      );
    const head = whole.slice(0, from + begin(name).length);
    return `${head}\n\n${lines.join("\n")}\n\n${whole.slice(to)}`;
  }, text);

/** `npm run bench -- scale`: measures nothing. */
export const scaleBench: Bench = {
  summary: "Llama-3-8B on 8 cards and on 4 x 8, on paper: bytes, messages, arithmetic",
  usage:
    "[--write]   prints the tables of docs/scale.md, or writes them there (format with prettier)",
  async run(argv) {
    const options = { write: { type: "boolean", default: false } } as const;
    const { values } = parseArgs({ args: [...argv], options });
    if (values.write) {
      const path = "docs/scale.md";
      await writeFile(path, withScaleTables(await readFile(path, "utf8")));
    } else
      for (const [name, lines] of Object.entries(scaleTables()))
        console.log(`${name}\n\n${lines.join("\n")}\n`);
  },
};
