import type { Compat } from "../core/compat.js";
import type { GivenFlags } from "../runs/recorded-flags.js";
import type { AdapterSettings } from "../peft/build-adapter.js";
import { namedInitializers } from "../peft/init.js";
import type { MoraType, SparsitySettings } from "../peft/method.js";
import type { QloraAdapter } from "../peft/qlora.js";
import type { BaseStorage } from "../train/load-base.js";
import { readEncoder, readLayers, readModulesToSave, readRankPattern } from "./adapter-options.js";
import type { FlagFault } from "../core/flag.js";
import { chosenModel, readGivenFlags } from "./given-flags.js";
import { isReadByMethod } from "./model-reads.js";
import type { FlagValues } from "./options.js";
import { readBaseStorage, storageFlagNames } from "./storage-options.js";

/** The flags that say what the model is and how it is tuned, for every command that builds an adapter. */
export const modelFlagNames = [
  "model_name",
  "peft_type",
  "r_ab",
  "lora_alpha",
  "use_rslora",
  ...storageFlagNames,
  "qlora_adapter",
  "r_lora",
  "mora_type",
  "target_modules",
  "init_ab",
  "train_ab",
  "rand_R",
  "virtual_tokens",
  "sparsity",
  "sparse_method",
  "sparse_schedule",
  "sparse_start",
  "sparse_end",
  "l1_weight",
  "layers",
  "modules_to_save",
  "rank_pattern",
  "prefix_projection",
  "encoder_hidden_size",
  "encoder_reparameterization_type",
  "encoder_num_layers",
  "prompt_init_text",
  "adapter_init",
] as const;

/** What the model is and how it is tuned. */
export interface ModelOptions extends AdapterSettings, BaseStorage {
  /** Undefined only where the checkpoint says it, or nothing is trained. */
  readonly peftType: string | undefined;
  /** A folder; undefined where nobody has named one, see chosenModel. */
  readonly modelName: string | undefined;
  readonly adapterInit: string | undefined;
  readonly givenFlags: GivenFlags;
}

const checkTargets = (text: string, faults: FlagFault[]): string => {
  // An empty ending would match every module.
  if (text.split(",").some((name) => name.trim() === ""))
    faults.push({
      what: "--target_modules",
      found: JSON.stringify(text),
      expected: "names with one comma between them",
    });
  return text;
};

const readInitAb = (text: string, compat: Compat, faults: FlagFault[]): ModelOptions["initAb"] => {
  const names = text.split(",").map((name) => name.trim());
  const [A = "", B = ""] = names;
  if (names.length !== 2 || !names.every((name) => name in namedInitializers))
    faults.push({
      what: "--init_ab",
      found: JSON.stringify(text),
      expected: `two of ${Object.keys(namedInitializers).join(", ")} with a comma between them`,
    });
  else if (compat.has("init")) return { A: "kaiming", B: "zero" };
  else if (A === "zero" && B === "zero")
    faults.push({
      what: "--init_ab",
      found: JSON.stringify(text),
      expected: "one of the two not to be zero: else both gradients stay zero",
    });
  return { A, B };
};

const readTrainAb = (text: string, faults: FlagFault[]): ModelOptions["trainAb"] => {
  if (!/^[yn]{2}$/.test(text) || text === "nn")
    faults.push({
      what: "--train_ab",
      found: JSON.stringify(text),
      expected: "yy, yn or ny: a letter for A and one for B",
    });
  return { A: text.startsWith("y"), B: text.endsWith("y") };
};

const readSparsity = (
  values: Pick<
    FlagValues,
    "sparsity" | "sparse_method" | "sparse_schedule" | "sparse_start" | "sparse_end" | "l1_weight"
  >,
  faults: FlagFault[],
): SparsitySettings => {
  const { sparsity, sparse_start: start, sparse_end: end } = values;
  if (sparsity >= 1)
    faults.push({ what: "--sparsity", found: String(sparsity), expected: "a share below 1" });
  if (start !== null && end !== null && start > end)
    faults.push({
      what: "--sparse_start",
      found: `${String(start)}, after --sparse_end ${String(end)}`,
      expected: "an earlier update",
    });
  return {
    sparsity,
    method: values.sparse_method as SparsitySettings["method"],
    schedule: values.sparse_schedule as SparsitySettings["schedule"],
    startStep: start ?? undefined,
    endStep: end ?? undefined,
    l1Weight: values.l1_weight,
  };
};

const readQloraAdapter = (
  { peft_type: peftType, qlora_adapter: name }: Pick<FlagValues, "peft_type" | "qlora_adapter">,
  faults: FlagFault[],
): QloraAdapter => {
  if (name !== null && peftType !== "qlora")
    faults.push({
      what: "--qlora_adapter",
      found: `${name} with --peft_type ${peftType ?? "missing"}`,
      expected: "--peft_type qlora",
      hint: `For ${name} on a quantized base, --peft_type ${name} --load_bit 4 says the same`,
    });
  return (name ?? "lora") as QloraAdapter;
};

/** The model's part of the options, for every command that loads one. Faults are added to `faults`. */
export const readModelOptions = (
  values: Pick<FlagValues, (typeof modelFlagNames)[number] | "ckpt">,
  given: ReadonlySet<string>,
  { compat, faults }: { readonly compat: Compat; readonly faults: FlagFault[] },
): ModelOptions => ({
  peftType: values.peft_type ?? undefined,
  modelName: chosenModel(values, given),
  givenFlags: readGivenFlags(values, given),
  adapterInit: values.adapter_init ?? undefined,
  ...readBaseStorage(values, values.peft_type, faults),
  qloraAdapter: readQloraAdapter(values, faults),
  rank: values.r_ab,
  loraAlpha: values.lora_alpha,
  useRslora: values.use_rslora,
  rLora: values.r_lora ?? values.r_ab,
  moraType: values.mora_type as MoraType,
  targetModules: checkTargets(values.target_modules, faults),
  layers: readLayers(values.layers, faults),
  modulesToSave: readModulesToSave(values.modules_to_save, faults),
  rankPattern: readRankPattern(values.rank_pattern, faults),
  initAb: readInitAb(values.init_ab, compat, faults),
  trainAb: readTrainAb(values.train_ab, faults),
  // Where the method has no use for it, a warning names it.
  randR: values.rand_R && isReadByMethod("rand_R", values),
  sparsity: readSparsity(values, faults),
  virtualTokens: values.virtual_tokens,
  prefixProjection: values.prefix_projection,
  encoderHiddenSize: values.encoder_hidden_size ?? undefined,
  ...readEncoder(values, faults),
  promptInitText: values.prompt_init_text ?? undefined,
});
