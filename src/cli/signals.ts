import { constants } from "node:os";
import { InterruptSignal, type InterruptName } from "../train/interrupt.js";

/** 130 for SIGINT, 143 for SIGTERM: what shells make of a program that a signal ended. */
export const exitCodeOf = (name: InterruptName): number => 128 + constants.signals[name];

export interface StopSignals {
  readonly interrupt: InterruptSignal;
  /** Back to the system's own way with signals. */
  release(): void;
}

/**
 * Turns SIGINT and SIGTERM into requests: the first lets the work finish its step and save, the second aborts it, the
 * third ends the process at once.
 *
 * @param onRequest called at the first and the second, to say what happens now
 */
export const catchStopSignals = (
  onRequest: (name: InterruptName, first: boolean) => void,
): StopSignals => {
  const interrupt = new InterruptSignal();
  const handle = (name: InterruptName): void => {
    if (interrupt.abort.aborted) process.exit(exitCodeOf(name));
    onRequest(name, interrupt.request(name));
  };
  process.on("SIGINT", handle).on("SIGTERM", handle);
  return {
    interrupt,
    release: () => {
      process.off("SIGINT", handle).off("SIGTERM", handle);
    },
  };
};
