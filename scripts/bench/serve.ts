/** The worker's side of a measurement: it says that it is ready, and then gives a sample a line. See contenders.ts. */
import { createInterface } from "node:readline";
import { peakMemoryBytes } from "../../src/runtime/memory.js";

/** Processor time of this process so far. */
export const ownCpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Answers every line {"lines": n} of the input with what `measure(n)` took, until the input ends. */
export const serveSamples = async (
  about: { readonly firstLoss: number | null; readonly version: string },
  measure: (lines: number) => Promise<readonly number[]>,
): Promise<void> => {
  console.log(JSON.stringify({ ready: true, ...about }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { lines } = JSON.parse(line) as { readonly lines: number };
    const before = ownCpuMs();
    const milliseconds = await measure(lines);
    console.log(
      JSON.stringify({
        milliseconds,
        cpuMs: ownCpuMs() - before,
        peakBytes: peakMemoryBytes(),
      }),
    );
  }
};
