import type { Split } from "../../datasets/rows.js";
import { bosRules, type BosRule } from "../../datasets/text-windows.js";
import { isTextSetName, textSetNames } from "../../datasets/wikitext.js";
import type { PerplexityResult, PerplexityRunOptions } from "../../runs/run-perplexity.js";
import type { ProgressUi } from "../../report/progress.js";
import { besideJson } from "../beside-json.js";
import { defineCommand, type Command } from "../command.js";
import { listed, type FlagFault } from "../../core/flag.js";
import { chosenModel, readGivenFlags } from "../given-flags.js";
import { besideCheckpoint, inFourBits } from "../model-reads.js";
import { flags, pickFlags } from "../options.js";
import { always, onlyWith } from "../reads.js";
import { readBaseStorage, storageFlagNames } from "../storage-options.js";
import { formatTable } from "../table.js";
import {
  deviceFlags,
  deviceReads,
  readDeviceOptions,
  type DeviceOptions,
} from "../device-options.js";
import { adapterFlag } from "./forward.js";

/** All that `hira perplexity` was asked for, checked. */
export type PerplexityCommandOptions = PerplexityRunOptions & DeviceOptions;

const ofSet = onlyWith<"dataset", string | null>("dataset", (name) => name !== null);

const readSource = (
  {
    input,
    dataset,
    split,
    data_dir: dataDir,
  }: {
    readonly input: string | null;
    readonly dataset: string | null;
    readonly split: string;
    readonly data_dir: string | null;
  },
  faults: FlagFault[],
): PerplexityRunOptions["source"] => {
  if ((input === null) === (dataset === null))
    faults.push({
      what: "--input",
      found: input === null ? "nothing" : `${input} with --dataset ${dataset ?? ""}`,
      expected: `a file of text, or in its place --dataset ${listed(textSetNames)}`,
    });
  if (dataset !== null && isTextSetName(dataset))
    return { set: dataset, split: split as Split, dataDir: dataDir ?? undefined };
  return { file: input ?? "" };
};

const round = (value: number): string =>
  value >= 1e6 ? value.toExponential(4) : value.toFixed(value < 10 ? 4 : 3);

/** The figures as lines for a terminal. */
const resultLines = (result: PerplexityResult, columns: number): readonly string[] => {
  const { counts, tokens, wordPerplexity, wordAndLinePerplexity, bitsPerByte } = result;
  const over = (unit: string, count: number | undefined): string => `${String(count ?? 0)} ${unit}`;
  const rows = [
    ["perplexity by token", over("tokens", tokens), round(result.tokenPerplexity)],
    ...(counts && wordPerplexity !== null
      ? [["perplexity by word", over("words", counts.words), round(wordPerplexity)]]
      : []),
    ...(counts && wordAndLinePerplexity !== null
      ? [
          [
            "perplexity by word and line end",
            over("words and ends", counts.words + counts.lines),
            round(wordAndLinePerplexity),
          ],
        ]
      : []),
    ...(counts && bitsPerByte !== null
      ? [["bits a byte", over("bytes", counts.bytes), round(bitsPerByte)]]
      : []),
  ];
  const bos =
    result.bos === "none"
      ? "no begin-of-text token"
      : `${result.bosToken ?? ""} before ${result.bos === "text" ? (result.texts === 1 ? "the text" : "each text") : "every window"}`;
  return [
    `${result.path}: ${String(result.windows)} windows of ${String(result.maxLength)} tokens, stride ${String(result.stride)}, ${bos}`,
    ...formatTable(
      [
        { heading: "figure", align: "left" },
        { heading: "over", align: "right" },
        { heading: "value", align: "right" },
      ],
      rows,
      { width: columns },
    ),
    ...(counts
      ? []
      : ["By word and by byte: not computed, since --limit leaves a part of the text out"]),
  ];
};

/** `hira perplexity`: how well a model predicts a text. */
export const perplexityCommand = (
  runPerplexity: (options: PerplexityCommandOptions, ui: ProgressUi) => Promise<PerplexityResult>,
): Command =>
  defineCommand({
    name: "perplexity",
    summary: "Measure how well a model predicts a text",
    description:
      "Takes a file of text, or a split of WikiText-2, and computes the likelihood of every token from those before it, in windows of --max_length. Perplexity by token compares models of one tokenizer; by word, and bits a byte, any two.",
    flags: {
      ...pickFlags(["model_name", ...storageFlagNames]),
      ckpt: adapterFlag,
      load_order: flags.load_order,
      input: {
        ...flags.input,
        group: "Data",
        help: "Text: one text, or a file of rows with text (.json, .jsonl), each by itself",
      },
      dataset: {
        kind: "text",
        ours: true,
        group: "Data",
        placeholder: "name",
        default: null,
        choices: textSetNames,
        help: "WikiText-2 under --data_dir in place of --input",
      },
      split: {
        kind: "text",
        ours: true,
        group: "Data",
        placeholder: "name",
        default: "test",
        choices: ["train", "validation", "test"],
        help: "Of the --dataset",
      },
      data_dir: flags.data_dir,
      max_length: {
        kind: "integer",
        ours: true,
        group: "Data",
        default: null,
        min: 2,
        help: "Tokens in a window; if not given, the model's positions, at most 1024",
      },
      stride: {
        kind: "integer",
        ours: true,
        group: "Data",
        default: null,
        min: 1,
        help: "Tokens from one window to the next: what a window shares with the one before it is context alone; if not given, half of --max_length",
      },
      bos: {
        kind: "text",
        ours: true,
        group: "Data",
        placeholder: "where",
        default: null,
        choices: bosRules,
        help: "Where the begin-of-text token stands; if not given, once before the text where the tokenizer has one",
      },
      limit: { ...flags.limit, group: "Data", help: "Only the first windows" },
      batch: { ...flags.batch, group: "Device", default: 4, help: "Windows computed together" },
      ...deviceFlags,
      ...pickFlags(["json", "overwrite"]),
      out: { ...flags.out, placeholder: "file", help: "Write the figures here too (.json)" },
    },
    reads: {
      model_name: always,
      load_bit: always,
      quant_type: [inFourBits],
      double_quant: [inFourBits],
      ckpt: always,
      load_order: [besideCheckpoint],
      input: always,
      dataset: always,
      split: [ofSet],
      data_dir: [ofSet],
      max_length: always,
      stride: always,
      bos: always,
      limit: always,
      batch: always,
      ...deviceReads,
      json: always,
      overwrite: [onlyWith<"out", string | null>("out", (path) => path !== null)],
      out: always,
    },
    examples: [
      ["hira perplexity --model=DIR --dataset=wikitext2_raw", "WikiText-2's test text, raw"],
      [
        "hira perplexity --ckpt=results_hira/RUN --input=book.txt --max_length=2048 --stride=1024",
        "a text of your own, with what a run has trained",
      ],
    ],
    async run({ values, given, context: { ui, note, terminal }, faults, throwFaults }) {
      const options: PerplexityCommandOptions = {
        modelName: chosenModel(values, given),
        givenFlags: readGivenFlags(values, given),
        ckpt: values.ckpt ?? undefined,
        loadOrder: values.load_order,
        ...readBaseStorage(values, null, faults),
        ...readDeviceOptions(values),
        source: readSource(values, faults),
        maxLength: values.max_length ?? undefined,
        stride: values.stride ?? undefined,
        bos: (values.bos ?? undefined) as BosRule | undefined,
        limit: values.limit ?? undefined,
        batch: values.batch,
        out: values.out ?? undefined,
        overwrite: values.overwrite,
      };
      throwFaults();
      const result = await runPerplexity(options, values.json ? besideJson(ui, note) : ui);
      if (values.json) ui.line(JSON.stringify(result, null, 2));
      else for (const line of resultLines(result, terminal.columns)) ui.line(line);
      if (options.out !== undefined && !values.json) ui.line(`Wrote ${options.out}`);
    },
  });
