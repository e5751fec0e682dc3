import { outTypes, type OutType } from "../../models/gguf/export-gguf.js";
import type { ProgressUi } from "../../report/progress.js";
import type { ExportRunOptions } from "../../runs/run-export.js";
import { defineCommand, type Command } from "../command.js";
import { readGivenFlags } from "../given-flags.js";
import { besideCheckpoint, inFourBits } from "../model-reads.js";
import { flags, pickFlags } from "../options.js";
import { always } from "../reads.js";
import { readBaseStorage, storageFlagNames } from "../storage-options.js";
import { adapterFlag } from "./forward.js";

/** `hira export`: a model, or what was trained on it, as another program's file. */
export const exportCommand = (
  runExport: (options: ExportRunOptions, ui: ProgressUi) => Promise<void>,
): Command =>
  defineCommand({
    name: "export",
    summary: "Write a model or an adapter as a GGUF file for llama.cpp",
    description:
      "Without --ckpt the model as it is; with it the model with what was trained in its weights, or, with --adapter_only, a LoRA adapter alone, which llama.cpp loads beside its base. Tokenizer, chat template and special tokens go into the file.",
    flags: {
      to: {
        ours: true,
        kind: "text",
        group: "Files and output",
        placeholder: "form",
        default: "gguf",
        choices: ["gguf"],
        help: "The form of the file",
      },
      model_name: {
        ...flags.model_name,
        default: null,
        help: "Model to write, a folder, a GGUF file or org/name[@revision]; with --ckpt its base, if not given the one that the adapter names",
      },
      ckpt: {
        ...adapterFlag,
        help: "What was trained: a run's folder, one of its checkpoints, or a peft adapter, which may be on the Hub",
      },
      load_order: flags.load_order,
      adapter_only: {
        ours: true,
        kind: "switch",
        group: "Files and output",
        help: "Write a LoRA adapter alone, in llama.cpp's form",
      },
      outtype: {
        ours: true,
        kind: "text",
        group: "Files and output",
        placeholder: "type",
        default: null,
        choices: outTypes,
        help: "Type of the matrices; vectors stay in float32. If not given, that of the model's files, of an adapter f32",
      },
      out: { ...flags.out, placeholder: "file", help: "File to write (.gguf)" },
      overwrite: flags.overwrite,
      ...pickFlags(storageFlagNames),
    },
    reads: {
      to: always,
      model_name: always,
      ckpt: always,
      load_order: [besideCheckpoint],
      adapter_only: always,
      outtype: always,
      out: always,
      overwrite: always,
      load_bit: [besideCheckpoint],
      quant_type: [besideCheckpoint, inFourBits],
      double_quant: [besideCheckpoint, inFourBits],
    },
    examples: [
      [
        "hira export --ckpt=results_hira/RUN --out=tuned.gguf --outtype=q8_0",
        "the run's best checkpoint in its base's weights, in 8 bits",
      ],
      ["hira export --model=DIR --out=model.gguf", "a model folder as one file"],
      [
        "hira export --ckpt=results_lora/RUN --adapter_only --out=adapter.gguf",
        "a LoRA adapter for the --lora of llama.cpp's programs",
      ],
    ],
    async run({ values, given, context: { ui }, faults, throwFaults }) {
      const { ckpt, model_name: modelName, adapter_only: adapterOnly, out } = values;
      if (ckpt === null && modelName === null)
        faults.push({
          what: "--model_name",
          found: "nothing",
          expected: "a model, or what was trained as --ckpt",
        });
      if (ckpt === null && adapterOnly)
        faults.push({
          what: "--adapter_only",
          found: "it without --ckpt",
          expected: "the adapter beside it, as --ckpt",
        });
      if (out?.toLowerCase().endsWith(".gguf") !== true)
        faults.push({
          what: "--out",
          found: out === null ? "nothing" : JSON.stringify(out),
          expected: "a file that ends in .gguf",
        });
      const options: ExportRunOptions = {
        ckpt: ckpt ?? undefined,
        loadOrder: values.load_order,
        modelName: modelName ?? undefined,
        givenFlags: readGivenFlags(values, given),
        ...readBaseStorage(values, null, faults),
        out: out ?? "",
        overwrite: values.overwrite,
        outType: (values.outtype ?? undefined) as OutType | undefined,
        adapterOnly,
      };
      throwFaults();
      await runExport(options, ui);
    },
  });
