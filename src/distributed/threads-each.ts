import { availableParallelism, cpus, hostname } from "node:os";
import type { ProcessGroup } from "./process-group.js";

/**
 * Threads for each process of a group: the cores of its host, shared out among the processes there; all that a process may use
 * where the launcher has bound it to some. Undefined for a process alone, whose runtime chooses.
 */
export const threadsEach = async (group: ProcessGroup): Promise<number | undefined> => {
  if (group.size === 1) return undefined;
  const hosts = await group.gather(hostname());
  const here = hosts.filter((host) => host === hosts[group.rank]).length;
  const own = availableParallelism();
  return own < cpus().length ? own : Math.max(1, Math.floor(own / here));
};
