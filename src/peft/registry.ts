import { dora } from "./dora.js";
import { fft } from "./fft.js";
import { hilora } from "./hilora.js";
import { hira } from "./hira.js";
import { lora, rslora } from "./lora.js";
import { mora } from "./mora.js";
import type { PeftMethod } from "./method.js";
import { pTuning } from "./p-tuning.js";
import { prefix } from "./prefix.js";
import type { QloraAdapter } from "./qlora.js";
import { promptTuning } from "./prompt-tuning.js";
import { sparseLora } from "./sparse-lora.js";

/** Methods that change linear layers, by the value of --peft_type. */
const linearMethods = {
  hira,
  lora,
  rslora,
  dora,
  mora,
  hilora,
  "sparse-lora": sparseLora,
} satisfies Readonly<Record<string, PeftMethod>>;

/** Methods of virtual tokens, and full fine-tuning. */
const otherMethods = {
  prefix,
  "p-tuning": pTuning,
  "prompt-tuning": promptTuning,
  fft,
} satisfies Readonly<Record<string, PeftMethod>>;

export const peftMethods = { ...linearMethods, ...otherMethods };

/** Every method, and qlora, which is one of those of linear layers on a quantized base. */
export type PeftType = keyof typeof peftMethods | "qlora";

/** The values of --peft_type. */
export const peftTypes = [
  ...Object.keys(linearMethods),
  "qlora",
  ...Object.keys(otherMethods),
] as readonly PeftType[];

/** The method that a --peft_type trains with; qlora's is what --qlora_adapter says. */
export const methodOf = (peftType: PeftType, qloraAdapter: QloraAdapter): PeftMethod =>
  peftMethods[peftType === "qlora" ? qloraAdapter : peftType];
