import { methodFlags, type MethodFlagName } from "../peft/registry.js";

/** Where the help lists the flags of methods among those that say what the model is; one that is missing here comes last. */
const order = [
  "model_name",
  "peft_type",
  "r_ab",
  "lora_alpha",
  "use_rslora",
  "load_bit",
  "quant_type",
  "double_quant",
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
  "lora_dropout",
];

/** These names and those of the methods' flags, in the order of the help. */
export const withMethodFlags = <const Name extends string>(
  names: readonly Name[],
): readonly (Name | MethodFlagName)[] => {
  const all = [...names, ...(Object.keys(methodFlags) as MethodFlagName[])];
  const placeOf = (name: string): number =>
    order.includes(name) ? order.indexOf(name) : order.length;
  return all.toSorted((a, b) => placeOf(a) - placeOf(b));
};
