/** What the machine does beside a measurement. */
import { cpus } from "node:os";

/** Milliseconds that all processors have worked so far. */
export const busyMs = (): number =>
  cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);

/** Starts to watch; the function says how many cores other programs have used since, on average, if ours took `ownCpuMs`. */
export const watchOthers = (): ((ownCpuMs: number) => number) => {
  const [begun, busy] = [performance.now(), busyMs()];
  return (ownCpuMs) => Math.max(0, (busyMs() - busy - ownCpuMs) / (performance.now() - begun));
};
