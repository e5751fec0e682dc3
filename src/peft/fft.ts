import type { FullMethod } from "./method.js";

/** Full fine-tuning: every tensor of the model trains; norm gains and biases take no weight decay. */
export const fft = { kind: "full", name: "fft", groups: [] } as const satisfies FullMethod;
