/** Methods whose steps can be measured: those that change linear layers. */
export const benchMethods = ["hira", "lora", "rslora", "dora", "mora", "hilora"] as const;
export type BenchMethod = (typeof benchMethods)[number];
