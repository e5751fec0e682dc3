import { writeFileAtomically } from "../../core/atomic-file.js";
import { requireNewFiles } from "../../core/new-file.js";
import { UserError } from "../../core/errors.js";
import { readRuns } from "../../runs/compare-runs.js";
import { describeLeftOut } from "../../score/find-runs.js";
import { defineCommand } from "../command.js";
import { comparisonCsv, comparisonJson } from "../compare-data.js";
import { comparedRows } from "../compare-rows.js";
import { comparisonMarkdown, formatComparison } from "../compare-table.js";
import { flags, pickFlags } from "../options.js";
import { always } from "../reads.js";

/** `hira compare`: a table over runs. */
export const compareCommand = defineCommand({
  name: "compare",
  summary: "Compare runs in a table",
  description:
    "Reads what runs have written into their folders: method, trained parameters, best validation loss, accuracy with its 95 % interval, step time, tokens a second, peak memory, size of the adapter. What a run has not written is shown as -. A folder stands for the runs in it; what is no run is left out, and named. A run goes by what differs; runs that differ in seed alone share a row, with mean and standard deviation. Warns where runs differ in model, data, seed, batch, steps, device, precision or mask.",
  words: { name: "<run|folder>...", help: "Runs' folders, or folders of runs" },
  flags: {
    per_set: {
      kind: "switch",
      group: "Files and output",
      help: "A column for the accuracy of each commonsense set",
    },
    markdown: {
      kind: "switch",
      group: "Files and output",
      help: "Print Markdown instead of a table for the terminal",
    },
    csv: { ...flags.csv, help: "Print CSV instead of a table: a line a row, and one a run" },
    ...pickFlags(["json", "overwrite"]),
    out: { ...flags.out, placeholder: "file", help: "Markdown file to write the table to (.md)" },
  },
  reads: {
    // JSON and CSV have the sets in any case.
    per_set: [
      {
        decidedBy: ["json", "csv", "out"],
        isMet: ({ json, csv, out }) => !(json || csv) || out !== null,
        otherwise: ({ json }) => `with --${json ? "json" : "csv"}`,
      },
    ],
    csv: always,
    markdown: always,
    json: always,
    out: always,
    overwrite: always,
  },
  examples: [
    ["hira compare results_hira", "every run in a folder; results_hira/* is the same"],
    ["hira compare RUN1 RUN2 --per_set --out=table.md", "two runs, set by set, as Markdown too"],
  ],
  async run({ values, words, context: { ui, terminal, note }, faults, throwFaults }) {
    const forms = (["json", "csv", "markdown"] as const).filter((name) => values[name]);
    if (forms.length > 1)
      faults.push({
        what: forms.map((name) => `--${name}`).join(", "),
        found: "them beside one another",
        expected: "one of them",
      });
    if (values.overwrite && values.out === null)
      faults.push({ what: "--overwrite", found: "no --out", expected: "one beside it" });
    throwFaults();
    if (words.length === 0)
      throw new UserError(
        "Cannot compare nothing: found no folder, expected the folders of runs",
        "For example: hira compare results_hira/*",
      );
    if (values.out !== null)
      await requireNewFiles([values.out], { flag: "--out", overwrite: values.overwrite });
    const { runs, leftOut } = await readRuns(words);
    if (leftOut.length > 0) ui.warn(`left out: ${describeLeftOut(leftOut)}`);
    const rows = comparedRows(runs);
    const options = { perSet: values.per_set };
    const markdown = comparisonMarkdown(rows, options);
    if (values.json) ui.line(comparisonJson(rows, leftOut));
    else if (values.csv) ui.line(comparisonCsv(rows).trimEnd());
    else if (values.markdown) ui.line(markdown.trimEnd());
    else for (const line of formatComparison(rows, { ...options, ...terminal })) ui.line(line);
    if (values.out === null) return;
    await writeFileAtomically(values.out, markdown);
    note(`wrote ${values.out}`);
  },
});
