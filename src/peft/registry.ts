import { dora } from "./dora.js";
import { fft } from "./fft.js";
import { hilora } from "./hilora.js";
import { hira } from "./hira.js";
import { lora, rslora } from "./lora.js";
import { mora } from "./mora.js";
import type { PeftMethod } from "./method.js";
import { pTuning } from "./p-tuning.js";
import { prefix } from "./prefix.js";
import { promptTuning } from "./prompt-tuning.js";
import { sparseLora } from "./sparse-lora.js";

/** Every method, by the value of --peft_type. */
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

export type PeftType = keyof typeof peftMethods;
