import type { ProgressUi } from "../../report/progress.js";
import type { MergeRunOptions } from "../../runs/run-merge.js";
import { defineCommand, type Command } from "../command.js";
import type { FlagFault } from "../../core/flag.js";
import { readGivenFlags } from "../given-flags.js";
import { inFourBits } from "../model-reads.js";
import { flags, pickFlags } from "../options.js";
import { deviceFlags, deviceReads, readDeviceOptions } from "../device-options.js";
import { always, notWith } from "../reads.js";
import { readBaseStorage, storageFlagNames } from "../storage-options.js";
import { adapterFlag } from "./forward.js";

/** A folder that a command cannot do without; where it is missing, a fault is added. */
const requireFolder = (name: "ckpt" | "out", value: string | null, faults: FlagFault[]): string => {
  if (value === null) faults.push({ what: `--${name}`, found: "nothing", expected: "a folder" });
  return value ?? "";
};

/** Unmerging compares weights, which the CPU makes in any case. */
const comparesLogits = notWith<"unmerge", string | null>("unmerge", (path) => path !== null);

/** `hira merge`: a plain model with an adapter in its weights, and the way back. */
export const mergeCommand = (
  runMerge: (options: MergeRunOptions, ui: ProgressUi) => Promise<void>,
): Command =>
  defineCommand({
    name: "merge",
    summary: "Write a plain model with an adapter in its weights",
    description:
      "The folder has the base's config, tokenizer, dtype and files, so that any program loads it. Prints the largest difference of its logits to those of the adapter beside its base. With --unmerge, checks that a folder is base and adapter, and writes the base again.",
    flags: {
      ckpt: adapterFlag,
      load_order: flags.load_order,
      model_name: {
        ...flags.model_name,
        default: null,
        help: "Base model, a folder or org/name[@revision]; if not given, the one that the adapter names",
      },
      unmerge: {
        kind: "text",
        group: "Files and output",
        placeholder: "folder",
        default: null,
        help: "Merged model to check against base and adapter; --out then gets the base, bit for bit",
      },
      input: {
        ...flags.input,
        help: "Rows of input_ids to compare logits on (.json or .jsonl); if not given, 4 random rows",
      },
      out: { ...flags.out, placeholder: "folder", help: "Folder to write, new or empty" },
      ...pickFlags(storageFlagNames),
      ...deviceFlags,
    },
    reads: {
      ckpt: always,
      load_order: always,
      model_name: always,
      unmerge: always,
      input: always,
      out: always,
      load_bit: always,
      quant_type: [inFourBits],
      double_quant: [inFourBits],
      device: [comparesLogits],
      device_dir: [comparesLogits, ...deviceReads.device_dir],
      precision: [comparesLogits],
      threads: always,
      skip_device_check: [comparesLogits, ...deviceReads.skip_device_check],
    },
    examples: [
      ["hira merge --ckpt=results_hira/RUN --out=merged", "the run's best checkpoint as a model"],
      ["hira merge --ckpt=ADAPTER --model=BASE --out=merged", "a peft adapter on a base model"],
      [
        "hira merge --unmerge=merged --ckpt=results_hira/RUN --out=base",
        "checks that merged is the run's, and writes its base",
      ],
    ],
    async run({ values, given, context: { ui }, faults, throwFaults }) {
      const options: MergeRunOptions = {
        ckpt: requireFolder("ckpt", values.ckpt, faults),
        loadOrder: values.load_order,
        modelName: values.model_name ?? undefined,
        givenFlags: readGivenFlags(values, given),
        ...readBaseStorage(values, null, faults),
        out: requireFolder("out", values.out, faults),
        unmerge: values.unmerge ?? undefined,
        input: values.input ?? undefined,
        ...readDeviceOptions(values),
      };
      if (options.unmerge !== undefined && options.input !== undefined)
        faults.push({
          what: "--input",
          found: "it beside --unmerge",
          expected: "only one of them: unmerging compares weights, not logits",
        });
      throwFaults();
      await runMerge(options, ui);
    },
  });
