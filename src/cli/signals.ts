import { constants } from "node:os";

type Stop = "SIGINT" | "SIGTERM";

export interface StopSignals {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** 130 for SIGINT, 143 for SIGTERM, undefined where none came. */
  exitCode(): number | undefined;
  /** Back to the system's own way with signals. */
  release(): void;
}

/**
 * Turns the first SIGINT or SIGTERM into an abort, so that the work can save and return; the second ends the process.
 *
 * @param onFirst called at the first signal, to say what happens now
 */
export const catchStopSignals = (onFirst: (name: Stop) => void): StopSignals => {
  const controller = new AbortController();
  let code: number | undefined;
  const handle = (name: Stop): void => {
    if (code !== undefined) process.exit(code);
    code = 128 + constants.signals[name];
    onFirst(name);
    controller.abort();
  };
  process.on("SIGINT", handle).on("SIGTERM", handle);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release: () => {
      process.off("SIGINT", handle).off("SIGTERM", handle);
    },
  };
};
