import { chooseDataRoot } from "../../datasets/data-root.js";
import { bytesThere, foldersOf, splitsThere } from "../../datasets/present-sources.js";
import { basisWords, type KnownHash } from "../../datasets/source.js";
import { sourceNames, sourceOf, type SourceName } from "../../datasets/sources.js";
import { defineCommand } from "../command.js";
import { pickFlags } from "../options.js";
import { always } from "../reads.js";
import { licenceText, readSourceNames } from "../source-words.js";
import { formatTable } from "../table.js";
import { wrapText } from "../wrap-text.js";

interface Listed {
  readonly name: SourceName;
  readonly there: readonly string[];
}

/** What a file is checked against: `SHA-256 0a1b... (reckoned from ...)`. */
const hashWords = (hash: KnownHash | undefined): string => {
  if (hash === undefined) return `SHA-256 ${basisWords.none}`;
  const kind = hash.sha256 === undefined ? "git blob" : "SHA-256";
  return `${kind} ${hash.sha256 ?? hash.gitBlob ?? ""} (${basisWords[hash.basis]})`;
};

/** All that is known of one set. */
const detailLines = async (
  { name, there }: Listed,
  { root, columns }: { readonly root: string; readonly columns: number },
): Promise<readonly string[]> => {
  const { title, page, licence, files, byHand } = sourceOf(name);
  const lines = [
    `${name}: ${title}`,
    `  ${page}`,
    `  ${licenceText(licence)}`,
    `  in ${foldersOf(sourceOf(name)).join(", ")}: ${there.length === 0 ? "nothing yet" : there.join(", ")}`,
  ];
  for (const file of files) {
    lines.push(`  ${file.url}`);
    const isKept = file.members === undefined || file.archive === "by hand";
    if (!isKept) lines.push(`    archive: ${hashWords(file.hash)}`);
    for (const { path, hash } of [...(isKept ? [file] : []), ...(file.members ?? [])]) {
      const bytes = await bytesThere(root, path);
      lines.push(
        `    ${path}: ${bytes === undefined ? "not there" : `${String(bytes)} bytes there`}`,
      );
      const isConverted = path !== file.path && file.conversion !== undefined;
      if (path === file.path || hash !== undefined)
        lines.push(
          `      ${isConverted ? "before it is written as JSON Lines: " : ""}${hashWords(hash)}`,
        );
    }
  }
  if (byHand !== undefined) lines.push(`  by hand: ${byHand}`);
  return lines.flatMap((line) => {
    const indent = " ".repeat(line.length - line.trimStart().length);
    return wrapText(line.trimStart(), columns - indent.length, "  ").map((part) => indent + part);
  });
};

const tableLines = (sets: readonly Listed[], columns: number): readonly string[] => {
  const rows = sets.map(({ name, there }) => {
    const { licence } = sourceOf(name);
    return [name, there.length === 0 ? "-" : there.join(", "), licence.name];
  });
  const headings = ["set", "there", "licence"].map((heading) => ({
    heading,
    align: "left" as const,
  }));
  const asking = sets.flatMap(({ name }) => {
    const { forbids } = sourceOf(name).licence;
    return forbids === undefined ? [] : [{ name, forbids }];
  });
  const texts = [...new Set(asking.map(({ forbids }) => forbids))];
  return [
    ...formatTable(headings, rows, { width: columns }),
    "",
    ...texts.flatMap((text) => {
      const names = asking.filter(({ forbids }) => forbids === text).map(({ name }) => name);
      return wrapText(`${names.join(", ")}: ${text}`, columns, "  ");
    }),
    "",
    ...wrapText(
      "hira data list NAME shows addresses, hashes and terms; hira data fetch NAME fetches.",
      columns,
      "  ",
    ),
  ];
};

/** `hira data list`: what can be fetched, and what of it is there. */
export const dataListCommand = defineCommand({
  name: "data list",
  summary: "List the data sets, what of them is there, and their licences",
  description:
    "Looks at names of files in the data folder, not into them: hira data check does that. With names of sets it shows where they come from, what their files are checked against and how that is known, and what has to be done by hand.",
  words: {
    name: "[set]...",
    help: "Names of --dataset; common_all for the eight commonsense sets",
  },
  flags: pickFlags(["data_dir", "json"]),
  reads: { data_dir: always, json: always },
  examples: [
    ["hira data list", "all sets"],
    ["hira data list samsum", "where SAMSum comes from, and on what terms"],
  ],
  async run({ values, words, context: { ui, terminal }, throwFaults }) {
    throwFaults();
    const { root, by } = chooseDataRoot({ dataDir: values.data_dir ?? undefined });
    const names = words.length === 0 ? sourceNames : readSourceNames(words);
    const sets: Listed[] = [];
    for (const name of names) sets.push({ name, there: await splitsThere(root, sourceOf(name)) });
    if (values.json) {
      const described = sets.map(({ name, there }) => ({ name, there, ...sourceOf(name) }));
      ui.line(JSON.stringify(described, undefined, 2));
      return;
    }
    const { columns } = terminal;
    if (words.length === 0) {
      for (const line of wrapText(`in ${root} (${by})`, columns, "  ")) ui.line(line);
      for (const line of tableLines(sets, columns)) ui.line(line);
      return;
    }
    for (const [i, set] of sets.entries()) {
      if (i > 0) ui.line("");
      for (const line of await detailLines(set, { root, columns })) ui.line(line);
    }
  },
});
