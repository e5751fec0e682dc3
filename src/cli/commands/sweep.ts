import { basename, extname, join, resolve } from "node:path";
import { writeFileAtomically } from "../../core/atomic-file.js";
import { UserError } from "../../core/errors.js";
import { readRuns } from "../../runs/compare-runs.js";
import { describeLeftOut } from "../../score/find-runs.js";
import { activities } from "../../train/interrupt.js";
import { defineCommand, type Command } from "../command.js";
import { comparedRows } from "../compare-rows.js";
import { comparisonMarkdown, formatComparison } from "../compare-table.js";
import { faultsError } from "../flag.js";
import { flags } from "../options.js";
import { always, notWith } from "../reads.js";
import { planSweep, runSweep } from "../run-sweep.js";
import { readSweepPlan } from "../sweep-plan.js";

/** An argument as a shell reads it. */
const quoted = (argument: string): string =>
  /^[\w.,=/:@%+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;

const commandLine = (args: readonly string[]): string =>
  ["hira", "train", ...args.map(quoted)].join(" ");

/**
 * `hira sweep`: a matrix of runs.
 *
 * @param program the command line that starts hira, without arguments of its own
 */
export const sweepCommand = (program: () => readonly string[]): Command =>
  defineCommand({
    name: "sweep",
    summary: "Train a matrix of settings, one run after the other",
    description:
      "Reads a YAML file with base, matrix, include, exclude and evaluate. Every run is a hira train of its own, in a folder named after its settings. What is done is skipped and what was stopped goes on when the same line is started again. Ends with the table of hira compare; the exit code is 1 if a run has failed.",
    words: { name: "<file.yaml>", help: "What to run" },
    flags: {
      out: {
        ...flags.out,
        placeholder: "folder",
        help: "The sweep's folder; if not given, results_sweep/ and the file's name",
      },
      dry_run: {
        kind: "switch",
        group: "Files and output",
        help: "Print the command lines that are left to run, and stop",
      },
      per_set: {
        kind: "switch",
        group: "Files and output",
        help: "In the table at the end: a column for each commonsense set",
      },
    },
    reads: {
      out: always,
      dry_run: always,
      per_set: [notWith("dry_run", (is) => is === true)],
    },
    finishOnSignal: true,
    examples: [
      ["hira sweep study.yaml --dry_run", "what would run"],
      ["hira sweep study.yaml", "runs it, or goes on with it"],
    ],
    async run({ values, words, context, throwFaults }) {
      throwFaults();
      const [file] = words;
      if (file === undefined || words.length > 1)
        throw new UserError(
          `Cannot run a sweep: found ${words.length === 0 ? "no file" : words.join(", ")}, expected one YAML file`,
          "For example: hira sweep study.yaml",
        );
      const { plan, faults, warnings } = await readSweepPlan(file, context);
      if (faults.length > 0) throw faultsError(faults, "sweep");
      for (const warning of warnings) context.ui.warn(warning);
      const out = resolve(values.out ?? join("results_sweep", basename(file, extname(file))));
      const { ui, terminal, interrupt } = context;
      if (values.dry_run) {
        for (const { name, train, evaluate } of await planSweep({ plan, out })) {
          ui.line(`# ${name}${train || evaluate ? "" : ": done"}`);
          if (train) ui.line(commandLine(train));
          if (evaluate) ui.line(commandLine([...evaluate, "--ckpt=RUN"]));
        }
        return undefined;
      }
      const { runs, failed } = await interrupt.during(activities.sweep, () =>
        runSweep({
          plan,
          out,
          program: program(),
          interrupt,
          line: (text) => {
            ui.line(text);
          },
        }),
      );
      const folders = runs.flatMap(({ state, folder }) =>
        state?.status === "done" && folder !== undefined ? [folder] : [],
      );
      if (folders.length > 0) {
        const { runs: compared, leftOut } = await readRuns(folders);
        if (leftOut.length > 0) ui.warn(`left out: ${describeLeftOut(leftOut)}`);
        const rows = comparedRows(compared);
        const options = { perSet: values.per_set, folders: false, ...terminal };
        ui.line("");
        for (const line of formatComparison(rows, options)) ui.line(line);
        const table = join(out, "compare.md");
        await writeFileAtomically(table, comparisonMarkdown(rows, options));
        ui.line("");
        ui.line(`Runs: ${join(out, "<run>")}`);
        ui.line(`Table: ${table}`);
      }
      for (const name of failed) ui.warn(`failed: ${name}`);
      return failed.length > 0 ? 1 : undefined;
    },
  });
