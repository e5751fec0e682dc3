/**
 * What --peft_type=qlora puts onto its base, whose linear layers are held in 4 bits.
 *
 * QLoRA is no method of its own here: any adapter of linear layers computes with weights that the graph unpacks, and these
 * three are what --qlora_adapter offers under its name. --load_bit 4 and 8 do the same for every other method.
 * Source: Dettmers et al., "QLoRA", NeurIPS 2023, section 3.
 */
export const qloraAdapters = ["lora", "dora", "hira"] as const;
/** One of them. */
export type QloraAdapter = (typeof qloraAdapters)[number];

/** The value of --peft_type. */
export const qloraType = "qlora";

/** Whether a --peft_type holds its base in 4 bits without being asked to. */
export const isQloraType = (peftType: unknown): boolean => peftType === qloraType;
