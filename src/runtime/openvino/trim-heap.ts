import { cLibrary } from "../ort/library.js";

/** How much the process may grow before its heap gives back what is free. */
const growthBytes = 512 << 20;

let trim: ((pad: number) => number) | undefined;
let lastBytes = 0;

/**
 * Gives free memory of the C library's heap back to the system, once the process has grown since the last time.
 *
 * OpenVINO allocates the values of a run anew for every shape, and what lies free between those that live stays with the process:
 * 300 updates of SmolLM2 with rows of many lengths came to 8.4 GiB, where a single one takes 4. After every run it would cost
 * a third of an update's time. Linux with glibc alone; elsewhere nothing is done.
 */
export const trimHeap = (): void => {
  if (process.platform !== "linux") return;
  const bytes = process.memoryUsage.rss();
  if (bytes < lastBytes + growthBytes) return;
  trim ??= cLibrary().func("malloc_trim", "int", ["size_t"]) as (pad: number) => number;
  trim(0);
  lastBytes = process.memoryUsage.rss();
};
