import { dirname, join } from "node:path";
import { resolveDataRoot } from "../../datasets/data-root.js";
import { splitCommonsense } from "../../datasets/split.js";
import { defineCommand } from "../command.js";
import { flags, pickFlags } from "../options.js";
import { always, notWith } from "../reads.js";

/** `hira data split`, which is the authors' do_train_val_test_split.py. */
export const dataSplitCommand = defineCommand({
  name: "data split",
  summary: "Split commonsense_170k.json into train, validation and test",
  description:
    "Shuffles the rows as Python's random does, holds the last ones out, and writes train.json, validation.json and test.json; the last two hold the same rows. With the defaults these are the rows of do_train_val_test_split.py.",
  flags: {
    input: {
      ...flags.input,
      help: "File to split; if not given, llm_adapt/commonsense_170k/commonsense_170k.json of the data folder",
    },
    out: {
      ...flags.out,
      placeholder: "folder",
      help: "Where to write; if not given, beside the input",
    },
    seed: { ...flags.seed, group: "Data", default: 58, help: "Seed of the order" },
    ...pickFlags(["hold_out", "data_dir", "overwrite"]),
  },
  reads: {
    input: always,
    out: always,
    seed: always,
    hold_out: always,
    data_dir: [notWith("input", (path) => path !== null)],
    overwrite: always,
  },
  examples: [
    ["hira data split", "the authors' split, with all names as they have them"],
    [
      "hira data split --input rows.json --out mine --hold_out 500",
      "another file, more validation",
    ],
  ],
  async run({ values, context: { ui }, throwFaults }) {
    throwFaults();
    const { seed, hold_out: holdOut, data_dir: dataDir, overwrite } = values;
    const input =
      values.input ??
      join(
        await resolveDataRoot({ dataDir: dataDir ?? undefined }),
        "llm_adapt/commonsense_170k/commonsense_170k.json",
      );
    const outFolder = values.out ?? dirname(input);
    const { files } = await splitCommonsense({ input, outFolder, seed, holdOut, overwrite });
    for (const { path, rows } of Object.values(files)) ui.line(`${path}  ${String(rows)} rows`);
  },
});
