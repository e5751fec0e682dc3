import type { Compat } from "../core/compat.js";
import type { GivenFlags } from "../runs/recorded-flags.js";
import type { AdapterSettings } from "../peft/build-adapter.js";
import { isQloraType, qloraAdapters, qloraType, type QloraAdapter } from "../peft/qlora.js";
import { chosenMethod, readMethodOptions } from "../peft/registry.js";
import type { BaseStorage } from "../train/load-base.js";
import { readLayers, readModulesToSave, readRankPattern } from "./adapter-options.js";
import type { FlagFault } from "../core/flag.js";
import { withMethodFlags } from "./flag-order.js";
import { chosenModel, readGivenFlags } from "./given-flags.js";
import type { FlagValues } from "./options.js";
import { readBaseStorage, storageFlagNames } from "./storage-options.js";

/** The flags that say what the model is and how it is tuned, for every command that builds an adapter. */
export const modelFlagNames = withMethodFlags([
  "model_name",
  "peft_type",
  ...storageFlagNames,
  "qlora_adapter",
  "target_modules",
  "layers",
  "modules_to_save",
  "rank_pattern",
  "adapter_init",
]);

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

const readQloraAdapter = (
  { peft_type: peftType, qlora_adapter: name }: Pick<FlagValues, "peft_type" | "qlora_adapter">,
  faults: FlagFault[],
): QloraAdapter => {
  if (name !== null && !isQloraType(peftType))
    faults.push({
      what: "--qlora_adapter",
      found: `${name} with --peft_type ${peftType ?? "missing"}`,
      expected: `--peft_type ${qloraType}`,
      hint: `For ${name} on a quantized base, --peft_type ${name} --load_bit 4 says the same`,
    });
  return (name ?? qloraAdapters[0]) as QloraAdapter;
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
  targetModules: checkTargets(values.target_modules, faults),
  layers: readLayers(values.layers, faults),
  modulesToSave: readModulesToSave(values.modules_to_save, faults),
  rankPattern: readRankPattern(values.rank_pattern, faults),
  // What the method has no use for, a warning names.
  ...readMethodOptions(values, chosenMethod(values.peft_type, values.qlora_adapter), {
    compat,
    faults,
  }),
});
