import { readdirSync, readFileSync } from "node:fs";
import koffi from "koffi";
import { UserError } from "../core/errors.js";

/** Bits of a mask as the system takes it: 1,024 processors, as glibc's cpu_set_t has them. */
const maskBytes = 128;

/** `0-3,8`, as the kernel writes lists. */
const numbersOf = (list: string): readonly number[] =>
  list
    .trim()
    .split(",")
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });

/**
 * The processors that this process may run on, those of one core side by side.
 *
 * @throws {UserError} where the system does not say
 */
export const allowedProcessors = (): readonly number[] => {
  if (process.platform !== "linux")
    throw new UserError(
      `Cannot bind processes to cores on ${process.platform}: found no way to, expected Linux`,
      "Leave --bind_cores_to_rank out",
    );
  const list = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  const firstOfCore = (processor: number): number => {
    const folder = `/sys/devices/system/cpu/cpu${String(processor)}/topology`;
    try {
      return numbersOf(readFileSync(`${folder}/thread_siblings_list`, "utf8"))[0] ?? processor;
    } catch {
      // A container may hide it: then each counts as a core.
      return processor;
    }
  };
  const found = numbersOf(list ?? "");
  const cores = new Map(found.map((processor) => [processor, firstOfCore(processor)]));
  return [...found].sort((a, b) => (cores.get(a) ?? a) - (cores.get(b) ?? b) || a - b);
};

/**
 * Keeps this process, with the threads that it has and will have, on these processors.
 *
 * @throws {UserError} if the system refuses: a processor is not there, or not this process's
 */
export const bindToProcessors = (processors: readonly number[]): void => {
  const mask = new Uint8Array(maskBytes);
  for (const processor of processors)
    mask[processor >> 3] = (mask[processor >> 3] ?? 0) | (1 << (processor & 7));
  const libc = koffi.load("libc.so.6");
  const set = libc.func("sched_setaffinity", "int", ["int", "size_t", "void *"]);
  // Only new threads inherit it, and V8 and libuv have started theirs.
  for (const thread of readdirSync("/proc/self/task")) {
    const failed = set(Number(thread), maskBytes, mask) !== 0;
    // One that has ended meanwhile needs none.
    if (failed && readdirSync("/proc/self/task").includes(thread))
      throw new UserError(
        `Cannot bind a process to the cores ${processors.join(", ")}: the system refuses, expected cores of this host that its processes may use`,
        "Give others: --bind_core_list, as lscpu numbers them",
      );
  }
};
