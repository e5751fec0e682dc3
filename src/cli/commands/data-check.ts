import { statSync } from "node:fs";
import { join } from "node:path";
import { UserError, didYouMean } from "../../core/errors.js";
import { datasetNames as rowSetNames, isDatasetFile } from "../../datasets/registry.js";
import { classSetNames } from "../../datasets/class-sets.js";
import { textSetNames } from "../../datasets/wikitext.js";
import type { ProgressUi } from "../../report/progress.js";
import type { CheckDataOptions, CheckedData } from "../../runs/checked-data.js";
import { runConfigName } from "../../report/run-config.js";
import { readConfigFile } from "../config-file.js";
import { readCompat } from "../compat-option.js";
import { defineCommand, type Command } from "../command.js";
import { dataCheckJson, formatDataCheck } from "../data-check-table.js";
import { defaultOf, type Flag, type ValuesOf } from "../../core/flag.js";
import { faultsError, readFlag } from "../flag.js";
import { flags, pickFlags } from "../options.js";
import { always } from "../reads.js";
import { readRowOptions } from "../row-options.js";
import { trainFlags } from "../train-flags.js";

const datasetNames: readonly string[] = [...rowSetNames, ...textSetNames, ...classSetNames];

const checkFlags = {
  model_name: {
    ...flags.model_name,
    default: null,
    help: "The model whose tokenizer a run would use, a folder or a name on the Hub; without it, texts alone are compared",
  },
  ...pickFlags([
    "data_dir",
    "task",
    "validation",
    "prompt_field",
    "target_field",
    "template",
    "max_length",
    "block_size",
    "use_input",
    "dataset_ratio",
    "batch",
    "max_new_tokens",
    "compat",
    "num_workers",
    "json",
  ]),
};

type CheckValues = ValuesOf<typeof checkFlags>;

const isFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
const isFile = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

/** The config.yaml that a word stands for: a run's folder, or the file itself. */
const runConfigOf = (word: string): string | undefined => {
  const inFolder = join(word, runConfigName);
  if (isFolder(word) && isFile(inFolder)) return inFolder;
  return /\.ya?ml$/.test(word) ? word : undefined;
};

/** A set's name or a file of rows. @throws {UserError} if it is neither */
const requireDataset = (word: string): string => {
  if (datasetNames.includes(word) || isDatasetFile(word)) return word;
  const found = isFolder(word)
    ? "a folder that is no run (it has no config.yaml)"
    : "no such set, file or run";
  throw new UserError(
    `Cannot check ${word}: found ${found}, expected one of ${datasetNames.join(", ")}, a file of rows, or a run`,
    didYouMean(word, datasetNames),
  );
};

/** What a run of these flags would read; what stands on the line counts before the run's own. */
const ofRun = async (
  path: string,
  line: CheckValues,
  given: ReadonlySet<string>,
): Promise<{ readonly values: CheckValues; readonly dataset: string }> => {
  const { texts, faults, modelFolder } = await readConfigFile(path, trainFlags);
  if (faults.length > 0) throw faultsError(faults, "train");
  const read = (name: keyof typeof trainFlags): unknown => {
    const flag: Flag = trainFlags[name];
    const text = texts[name];
    if (text === undefined || text === true || flag.kind === "switch")
      return text ?? defaultOf(flag);
    const reading = readFlag(name, flag, text);
    return "value" in reading ? reading.value : defaultOf(flag);
  };
  const ofFile = Object.fromEntries(
    Object.keys(checkFlags).flatMap((name) =>
      given.has(name) || !Object.hasOwn(trainFlags, name)
        ? []
        : [[name, read(name as keyof typeof trainFlags)]],
    ),
  );
  const model =
    given.has("model_name") || modelFolder === undefined ? {} : { model_name: modelFolder };
  return { values: { ...line, ...ofFile, ...model }, dataset: String(read("dataset")) };
};

/** `hira data check`. @param checkData the work, which loads the tokenizers' library */
export const dataCheckCommand = (
  checkData: (options: CheckDataOptions, ui: ProgressUi) => Promise<readonly CheckedData[]>,
): Command =>
  defineCommand({
    name: "data check",
    summary: "Check the rows of a set, a file or a run before training",
    description:
      "Lengths, rows that limits cut, rows without a label, rows that repeat each other inside and between splits, and what padding costs, as a run with these flags would get them. Exit code 1 where such a run would be wrong, or would stop: a row without a label, a missing split, tokens that the model does not know, or, in more than 1 % of a split's rows, a text that is cut or a context that train has too.",
    words: {
      name: "<set|file|run>...",
      help: "Names of --dataset, files of rows, run folders or their config.yaml",
    },
    flags: checkFlags,
    reads: {
      model_name: always,
      data_dir: always,
      task: always,
      validation: always,
      prompt_field: always,
      target_field: always,
      template: always,
      max_length: always,
      block_size: always,
      use_input: always,
      dataset_ratio: always,
      batch: always,
      max_new_tokens: always,
      compat: always,
      num_workers: always,
      json: always,
    },
    examples: [
      ["hira data check boolq --model=SmolLM2-135M", "a set, with lengths in that model's tokens"],
      ["hira data check results_hira/RUN", "the data of a run, with the flags that it had"],
      ["hira data check chats.jsonl --validation=0.1 --model=DIR", "a file of your own"],
    ],
    async run({ values: line, given, words, context: { ui, terminal }, faults, throwFaults }) {
      readCompat(line.compat, faults);
      throwFaults();
      if (words.length === 0)
        throw new UserError(
          "Cannot check nothing: expected a set, a file of rows or a run",
          "For example: hira data check boolq --model=FOLDER",
        );
      const checked: CheckedData[] = [];
      for (const word of words) {
        const config = runConfigOf(word);
        const { values, dataset } =
          config === undefined
            ? { values: line, dataset: requireDataset(word) }
            : await ofRun(config, line, given);
        checked.push(
          ...(await checkData(
            {
              ...readRowOptions(values, dataset),
              maxNewTokens: values.max_new_tokens ?? undefined,
              compat: readCompat(values.compat, []),
              batch: values.batch,
              modelName: values.model_name ?? undefined,
            },
            ui,
          )),
        );
      }
      if (line.json) ui.line(JSON.stringify(checked.map(dataCheckJson), undefined, 2));
      else
        for (const [i, data] of checked.entries()) {
          if (i > 0) ui.line("");
          for (const text of formatDataCheck(data, terminal.columns)) ui.line(text);
        }
      return checked.some(({ isWrong }) => isWrong) ? 1 : undefined;
    },
  });
