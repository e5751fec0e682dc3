import { fft } from "./fft.js";
import { hira } from "./hira.js";
import type { PeftMethod } from "./method.js";

/** Every method, by the value of --peft_type. */
export const peftMethods = { hira, fft } satisfies Readonly<Record<string, PeftMethod>>;

export type PeftType = keyof typeof peftMethods;
