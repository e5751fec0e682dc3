import type { GenerationConfig } from "../../models/generation-config.js";
import type { ProgressUi } from "../../report/progress.js";
import type { InterruptSignal } from "../../train/interrupt.js";
import type { GivenFlags } from "../../runs/recorded-flags.js";
import { defineCommand, type Command } from "../command.js";
import { chosenModel, readGivenFlags } from "../given-flags.js";
import { besideCheckpoint, draws, inFourBits } from "../model-reads.js";
import { flags, pickFlags } from "../options.js";
import { always, onlyWith, whereWritten } from "../reads.js";
import { readDoSample } from "../train-options.js";
import {
  deviceFlags,
  deviceReads,
  readDeviceOptions,
  type DeviceOptions,
} from "../device-options.js";
import type { BaseStorage } from "../../train/load-base.js";
import { readBaseStorage, storageFlagNames } from "../storage-options.js";
import { adapterFlag, requireFile } from "./forward.js";

/** All that `hira generate` was asked for, checked. Decoding's names and meanings are those of DecodeSettings. */
export interface GenerateCommandOptions extends DeviceOptions, BaseStorage {
  /** Undefined where nobody has named one, see chosenModel. */
  readonly modelName: string | undefined;
  readonly givenFlags: GivenFlags;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  /** JSON Lines: rows of prompt or input_ids. */
  readonly input: string;
  /** JSON Lines: rows of new_tokens, text and score. */
  readonly out: string;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
  /** The most prompts decoded together. */
  readonly batch: number;
  readonly seed: number | undefined;
  readonly numBeams: number;
  readonly numReturnSequences: number;
  readonly maxNewTokens: number;
  readonly lengthPenalty: number;
  readonly noRepeatNgramSize: number;
  readonly earlyStopping: boolean | "never";
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  /** Those of the fields above that somebody wrote. The model's folder decides the others. */
  readonly given: ReadonlySet<keyof GenerationConfig>;
  /** The flags that have to have an effect. */
  readonly typed: ReadonlySet<string>;
}

/** The flags that stand over what a model's folder says, each with its field there. */
const fieldOfFlag: Readonly<Record<string, keyof GenerationConfig>> = {
  max_new_tokens: "maxNewTokens",
  beam_size: "numBeams",
  num_return_sequences: "numReturnSequences",
  length_penalty: "lengthPenalty",
  no_repeat_ngram_size: "noRepeatNgramSize",
  early_stopping: "earlyStopping",
  do_sample: "doSample",
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
};

const mayDraw = whereWritten("do_sample", draws);
const hasBeams = onlyWith<"beam_size", number | null>(
  "beam_size",
  (beams) => Number(beams) > 1,
  "beam_size above 1",
);

/** `hira generate`: continues prompts, with scores. */
export const generateCommand = (
  runGenerate: (
    options: GenerateCommandOptions,
    ui: ProgressUi,
    interrupt: InterruptSignal,
  ) => Promise<void>,
): Command =>
  defineCommand({
    name: "generate",
    summary: "Continue prompts from a file",
    description:
      "Takes rows with prompt or input_ids, and writes for each its best sequences: new_tokens, text where the model has a tokenizer, and score as transformers defines sequences_scores. What no flag says, the model's generation_config.json decides.",
    flags: {
      ...pickFlags(["model_name", ...storageFlagNames]),
      ckpt: adapterFlag,
      load_order: flags.load_order,
      batch: { ...flags.batch, group: "Decoding", help: "The most prompts decoded together" },
      seed: { ...flags.seed, group: "Decoding", help: "With --do_sample: seed of what is drawn" },
      max_new_tokens: { ...flags.max_new_tokens, default: 16, help: "Longest answer in tokens" },
      beam_size: { ...flags.beam_size, default: 1, help: "Beams of the search" },
      ...pickFlags([
        "num_return_sequences",
        "length_penalty",
        "no_repeat_ngram_size",
        "early_stopping",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "overwrite",
      ]),
      ...deviceFlags,
      input: { ...flags.input, help: "Rows of prompt or input_ids (.json or .jsonl)" },
      out: { ...flags.out, placeholder: "file", help: "What to write (.jsonl)" },
    },
    reads: {
      model_name: always,
      load_bit: always,
      quant_type: [inFourBits],
      double_quant: [inFourBits],
      ckpt: always,
      load_order: [besideCheckpoint],
      batch: always,
      // What nobody wrote, generation_config.json may decide: runGenerate looks once it has been read.
      seed: [mayDraw],
      max_new_tokens: always,
      beam_size: always,
      num_return_sequences: always,
      length_penalty: always,
      no_repeat_ngram_size: always,
      early_stopping: [whereWritten("beam_size", hasBeams)],
      do_sample: always,
      temperature: [mayDraw],
      top_k: [mayDraw],
      top_p: [mayDraw],
      ...deviceReads,
      overwrite: always,
      input: always,
      out: always,
    },
    finishOnSignal: true,
    examples: [
      [
        "hira generate --model=DIR --input=prompts.jsonl --out=answers.jsonl --beam_size=4 --max_new_tokens=32",
        "the best of four beams for every prompt",
      ],
    ],
    async run({ values, given, typed, context: { ui, interrupt }, faults, throwFaults }) {
      const { early_stopping: earlyStopping } = values;
      const options: GenerateCommandOptions = {
        modelName: chosenModel(values, given),
        givenFlags: readGivenFlags(values, given),
        ckpt: values.ckpt ?? undefined,
        loadOrder: values.load_order,
        ...readBaseStorage(values, null, faults),
        ...readDeviceOptions(values),
        input: requireFile("input", values.input, { ending: ".jsonl", faults }),
        out: requireFile("out", values.out, { ending: ".jsonl", faults }),
        overwrite: values.overwrite,
        batch: values.batch,
        seed: values.seed ?? undefined,
        numBeams: values.beam_size,
        numReturnSequences: values.num_return_sequences,
        maxNewTokens: values.max_new_tokens,
        lengthPenalty: values.length_penalty,
        noRepeatNgramSize: values.no_repeat_ngram_size,
        earlyStopping: earlyStopping === "never" ? "never" : earlyStopping === "true",
        doSample: readDoSample(values.do_sample, faults),
        temperature: values.temperature,
        topK: values.top_k,
        topP: values.top_p,
        given: new Set([...given].flatMap((flag) => fieldOfFlag[flag] ?? [])),
        typed: new Set(typed.keys()),
      };
      const { numBeams, numReturnSequences, doSample } = options;
      // What nobody wrote, the model's folder may say otherwise.
      const [beams, draws] = [given.has("beam_size"), given.has("do_sample")];
      const fits = numReturnSequences <= numBeams || (numBeams === 1 && (doSample || !draws));
      if (given.has("num_return_sequences") && beams && !fits)
        faults.push({
          what: "--num_return_sequences",
          found: String(numReturnSequences),
          expected: `at most the ${String(numBeams)} of --beam_size`,
        });
      throwFaults();
      await runGenerate(options, ui, interrupt);
    },
  });
