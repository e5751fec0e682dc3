import { constants } from "node:os";
import type { InterruptName, InterruptSignal } from "../train/interrupt.js";

const names: readonly InterruptName[] = ["SIGINT", "SIGTERM"];

/** 128 + the signal's number, as shells report it: 130 for SIGINT, 143 for SIGTERM. */
export const exitCodeOf = (name: InterruptName): number => 128 + constants.signals[name];

/** What the handlers touch; tests put their own in. */
export interface InterruptHost {
  on(name: InterruptName, listener: (name: InterruptName) => void): unknown;
  off(name: InterruptName, listener: (name: InterruptName) => void): unknown;
  exit(code: number): void;
}

/**
 * Passes SIGINT and SIGTERM on to `interrupt`. The first one is told to the person by `tell`; the second one ends the
 * process at once, whatever it is doing.
 *
 * @returns a function that takes the handlers off again
 */
export const installInterruptHandlers = (
  interrupt: InterruptSignal,
  tell: (line: string) => void,
  host: InterruptHost = process,
): (() => void) => {
  const listener = (name: InterruptName): void => {
    if (interrupt.request(name)) {
      tell(`${name}: finishing this step and saving; once more to stop at once without saving`);
      return;
    }
    host.exit(exitCodeOf(name));
  };
  for (const name of names) host.on(name, listener);
  return () => {
    for (const name of names) host.off(name, listener);
  };
};
