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

/** Every method, by the value of --peft_type; qlora is one of them on a quantized base. */
export const peftMethods = {
  hira,
  lora,
  rslora,
  dora,
  mora,
  hilora,
  "sparse-lora": sparseLora,
  prefix,
  "p-tuning": pTuning,
  "prompt-tuning": promptTuning,
  fft,
} satisfies Readonly<Record<string, PeftMethod>>;

export type PeftType = keyof typeof peftMethods | "qlora";

/** The values of --peft_type. */
export const peftTypes = [
  "hira",
  "lora",
  "rslora",
  "dora",
  "mora",
  "hilora",
  "sparse-lora",
  "qlora",
  "prefix",
  "p-tuning",
  "prompt-tuning",
  "fft",
] as const satisfies readonly PeftType[];

/** The method that a --peft_type trains with. */
export const methodOf = (peftType: PeftType, qloraAdapter: QloraAdapter): PeftMethod =>
  peftMethods[peftType === "qlora" ? qloraAdapter : peftType];
