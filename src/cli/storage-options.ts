import type { FourBitType } from "../models/weights/quantize.js";
import type { BaseStorage } from "../train/load-base.js";
import { listed, type FlagFault } from "../core/flag.js";
import { isQloraType, qloraAdapters, qloraType } from "../peft/qlora.js";
import { chosenMethod } from "../peft/registry.js";
import type { FlagValues } from "./options.js";

/** The flags that say how a base model's weights are held. */
export const storageFlagNames = ["load_bit", "quant_type", "double_quant"] as const;

/** The bits that hold a frozen weight: 4 under qlora, whose name says so, else --load_bit. */
export const effectiveLoadBit = (
  peftType: string | null,
  { load_bit: given }: Pick<FlagValues, "load_bit">,
): number => (isQloraType(peftType) && given === 16 ? 4 : given);

/**
 * How the base's weights are held, by the flags. What does not go together is added to `faults`.
 *
 * @param peftType null where nothing is trained, or a checkpoint says it
 */
export const readBaseStorage = (
  values: Pick<FlagValues, (typeof storageFlagNames)[number]>,
  peftType: string | null,
  faults: FlagFault[],
): BaseStorage => {
  const loadBit = effectiveLoadBit(peftType, values);
  if (isQloraType(peftType) && loadBit !== 4)
    faults.push({
      what: "--load_bit",
      found: `${String(loadBit)} with --peft_type ${qloraType}`,
      expected: `4, which ${qloraType} takes where the flag is left out`,
      hint: `For a base in other bits choose --peft_type ${listed(qloraAdapters)} with --load_bit ${String(loadBit)}`,
    });
  if (chosenMethod(peftType)?.kind === "full" && loadBit < 16)
    faults.push({
      what: "--load_bit",
      found: `${String(loadBit)} with --peft_type ${peftType ?? ""}`,
      expected: "16 or 32: full fine-tuning trains the weights themselves",
      hint: "Quantized weights stay frozen: choose a method that trains an adapter beside them",
    });
  for (const name of ["quant_type", "double_quant"] as const)
    if (values[name] !== null && loadBit !== 4)
      faults.push({
        what: `--${name}`,
        found: `${String(values[name])} with --load_bit ${String(loadBit)}`,
        expected: "4 bits beside it",
        hint: `Add --load_bit 4, or choose --peft_type ${qloraType}`,
      });
  return {
    loadBit,
    quantType: (values.quant_type ?? "nf4") as FourBitType,
    doubleQuant: values.double_quant ?? true,
  };
};
