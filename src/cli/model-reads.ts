import type { MethodOptions, PeftMethod } from "../peft/method.js";
import type { QloraAdapter } from "../peft/qlora.js";
import { qloraAdapters } from "../peft/qlora.js";
import { methodOf, peftTypes, type PeftType } from "../peft/registry.js";
import { listed } from "../core/flag.js";
import type { FlagValues } from "./options.js";
import { onlyWith, type Requirement } from "./reads.js";
import { effectiveLoadBit } from "./storage-options.js";

/** The option of a method that a flag sets. */
export const optionOfFlag = {
  r_ab: "rank",
  lora_alpha: "alpha",
  use_rslora: "rankStabilized",
  lora_dropout: "dropout",
  r_lora: "additiveRank",
  mora_type: "moraType",
  init_ab: "initA",
  train_ab: "trainA",
  rand_R: "randomR",
  sparsity: "sparsity",
  sparse_method: "sparsity",
  sparse_schedule: "sparsity",
  sparse_start: "sparsity",
  sparse_end: "sparsity",
  l1_weight: "sparsity",
  virtual_tokens: "virtualTokens",
  prefix_projection: "prefixProjection",
  encoder_hidden_size: "encoderHiddenSize",
  encoder_reparameterization_type: "encoderType",
  encoder_num_layers: "encoderLayers",
  prompt_init_text: "promptInitIds",
} as const satisfies Partial<Record<keyof FlagValues, keyof MethodOptions>>;

export type MethodFlagName = keyof typeof optionOfFlag;

/** The flags of whose values a method may make it depend whether it reads another one. */
type AskedFlagName = "prefix_projection" | "encoder_reparameterization_type";

/** The flags that choose a method, and those that decide whether it reads another one. */
type ChoosingValues = Pick<FlagValues, "peft_type" | "qlora_adapter">;
type MethodValues = ChoosingValues &
  Pick<FlagValues, AskedFlagName | "sparse_method" | "sparse_schedule">;

const choosing = ["peft_type", "qlora_adapter"] as const;

/** The method that the flags choose; undefined where they choose none. */
const chosenMethod = ({ peft_type, qlora_adapter }: ChoosingValues): PeftMethod | undefined => {
  const peftType = peftTypes.find((known) => known === peft_type);
  const adapter = qloraAdapters.find((known) => known === qlora_adapter) ?? "lora";
  return peftType && methodOf(peftType, adapter);
};

/** The method is one of which `suits` is true; none chosen is no reason to leave a flag unread. */
const suitableMethod = (
  suits: (method: PeftMethod) => boolean,
): Requirement<ChoosingValues> & { readonly goesWith: string } => {
  const adapters = (peftType: PeftType): readonly QloraAdapter[] =>
    peftType === "qlora" ? qloraAdapters : ["lora"];
  const suitable = peftTypes.filter((peftType) =>
    adapters(peftType).some((adapter) => suits(methodOf(peftType, adapter))),
  );
  return {
    decidedBy: choosing,
    isMet(values) {
      const method = chosenMethod(values);
      return method === undefined || suits(method);
    },
    otherwise: ({ peft_type: peftType, qlora_adapter: adapter }) =>
      `with --peft_type=${String(peftType)}${peftType === "qlora" && adapter !== null ? ` --qlora_adapter=${adapter}` : ""}`,
    goesWith: `--peft_type=${listed(suitable)}`,
  };
};

/** The flag of an option that a method may ask a value of. */
const flagOfOption = (option: keyof MethodOptions): AskedFlagName => {
  const found = Object.entries(optionOfFlag).find(([, known]) => known === option);
  if (!found) throw new RangeError(`Cannot ask a value of ${option}: no flag sets it`);
  return found[0] as AskedFlagName;
};

/** Where the method reads the option only beside a value of another one, that value. */
const besideValue = (option: keyof MethodOptions): Requirement<MethodValues> => {
  const asked = (values: MethodValues) => {
    const reads = chosenMethod(values)?.reads[option];
    if (reads === undefined || reads === true) return undefined;
    return { flag: flagOfOption(reads.option), is: reads.is };
  };
  return {
    decidedBy: [...choosing, "prefix_projection", "encoder_reparameterization_type"],
    isMet(values) {
      const other = asked(values);
      return other === undefined || values[other.flag] === other.is;
    },
    otherwise(values) {
      const { flag = "", is = true } = asked(values) ?? {};
      return is === true ? `without --${flag}` : `without --${flag}=${String(is)}`;
    },
  };
};

const pruning: Partial<Record<MethodFlagName, Requirement<MethodValues>>> = {
  sparse_end: onlyWith("sparse_schedule", (when) => when === "gradual", "sparse_schedule=gradual"),
  l1_weight: onlyWith("sparse_method", (how) => how === "l1", "sparse_method=l1"),
};

/** The method that the flags choose reads this flag, as it declares. */
export const methodReads = (flag: MethodFlagName): readonly Requirement<MethodValues>[] => {
  const option = optionOfFlag[flag];
  const more = pruning[flag];
  return [
    suitableMethod((method) => method.reads[option] !== undefined),
    besideValue(option),
    ...(more ? [more] : []),
  ];
};

/** The method changes linear layers, so that it has a use for flags that choose some. */
export const changesLayers = suitableMethod(({ kind }) => kind === "linear");

/** The method is full fine-tuning. */
export const trainsAllWeights = suitableMethod(({ kind }) => kind === "full");

/** The flag --peft_type=qlora alone reads. */
export const isQlora = onlyWith<"peft_type", string | null>(
  "peft_type",
  (peftType) => peftType === "qlora",
  "peft_type=qlora",
);

/** Whether the method that the flags choose reads a flag. */
export const isReadByMethod = (flag: MethodFlagName, values: MethodValues): boolean =>
  methodReads(flag).every((requirement) => requirement.isMet(values, new Set()));

/** The base's linear layers are held in 4 bits. */
export const inFourBits: Requirement<
  Pick<FlagValues, "load_bit"> & { readonly peft_type?: string | null }
> = {
  decidedBy: ["load_bit", "peft_type"],
  isMet: (values) => effectiveLoadBit(values.peft_type ?? null, values) === 4,
  otherwise: () => "without --load_bit=4",
};

/** Tokens are drawn. */
export const draws = onlyWith<"do_sample", string>(
  "do_sample",
  (text) => /^(?:yes|true)$/i.test(text),
  "do_sample=yes",
);

/** What was trained is loaded. */
export const besideCheckpoint = onlyWith<"ckpt", string | null>("ckpt", (path) => path !== null);
