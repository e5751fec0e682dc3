import { dora } from "./dora.js";
import { fft } from "./fft.js";
import { hilora } from "./hilora.js";
import { hira } from "./hira.js";
import { lora, rslora } from "./lora.js";
import { mora } from "./mora.js";
import type { PeftMethod } from "./method.js";

/** Every method, by the value of --peft_type. */
export const peftMethods = {
  hira,
  lora,
  rslora,
  dora,
  mora,
  hilora,
  fft,
} satisfies Readonly<Record<string, PeftMethod>>;

export type PeftType = keyof typeof peftMethods;
