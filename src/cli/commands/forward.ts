import type { ProgressUi } from "../../report/progress.js";
import { defineCommand, type Command } from "../command.js";
import type { FlagFault } from "../../core/flag.js";
import { forwardReads } from "../forward-reads.js";
import { flags, pickFlags } from "../options.js";
import { modelFlagNames, readModelOptions, type ModelOptions } from "../model-options.js";
import { deviceFlags, readDeviceOptions, type DeviceOptions } from "../device-options.js";

/** All that `hira forward` was asked for, checked. */
export interface ForwardOptions extends ModelOptions, DeviceOptions {
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  /** For the start values that `adapterInit` does not give. */
  readonly seed: number | undefined;
  /** JSON Lines: rows of input_ids, labels and, optionally, attention_mask. */
  readonly input: string;
  /** The safetensors file to write. */
  readonly out: string;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
  readonly gradients: boolean;
}

/** --ckpt of the commands that do not evaluate. */
export const adapterFlag = {
  ...flags.ckpt,
  group: "Model and method",
  help: "Trained adapter: a run's folder, one of its checkpoints, or a peft adapter, which may be on the Hub",
} as const;

/** A file that a command cannot do without; where it is missing, a fault is added. */
export const requireFile = (
  name: "input" | "out",
  value: string | null,
  { ending, faults }: { readonly ending: string; readonly faults: FlagFault[] },
): string => {
  if (value === null)
    faults.push({ what: `--${name}`, found: "nothing", expected: `a file, FILE${ending}` });
  return value ?? "";
};

/** `hira forward`: logits, loss and gradients of given rows, for comparison with other programs. */
export const forwardCommand = (
  runForward: (options: ForwardOptions, ui: ProgressUi) => Promise<void>,
): Command =>
  defineCommand({
    name: "forward",
    summary: "Write logits, loss and gradients of given rows",
    description:
      "Takes all rows of the input as one batch, as they are; they must have one length. Writes logits [batch, seq, vocab], where the rows have labels the loss, and with --gradients grad.<parameter> for everything that trains.",
    flags: {
      ...pickFlags([...modelFlagNames, "load_order", "gradients", "overwrite"]),
      ckpt: adapterFlag,
      seed: {
        ...flags.seed,
        group: "Model and method",
        help: "Seed of the start values that no file gives",
      },
      ...deviceFlags,
      input: {
        ...flags.input,
        help: "Rows of input_ids and, optionally, labels and attention_mask (.json or .jsonl)",
      },
      out: { ...flags.out, placeholder: "file", help: "What to write (.safetensors)" },
    },
    reads: forwardReads,
    examples: [
      [
        "hira forward --model=DIR --peft_type=hira --adapter_init=init.safetensors --input=rows.jsonl --out=out.safetensors --gradients",
        "the first step's gradients from given start values",
      ],
    ],
    async run({ values, given, context: { ui }, faults, throwFaults }) {
      const options: ForwardOptions = {
        ...readModelOptions(values, given, { compat: new Set(), faults }),
        ...readDeviceOptions(values),
        ckpt: values.ckpt ?? undefined,
        loadOrder: values.load_order,
        seed: values.seed ?? undefined,
        input: requireFile("input", values.input, { ending: ".jsonl", faults }),
        out: requireFile("out", values.out, { ending: ".safetensors", faults }),
        overwrite: values.overwrite,
        gradients: values.gradients,
      };
      throwFaults();
      await runForward(options, ui);
    },
  });
