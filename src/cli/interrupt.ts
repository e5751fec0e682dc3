import { constants } from "node:os";
import { interruptNames, type InterruptName, type InterruptSignal } from "../train/interrupt.js";

/** 128 + the signal's number, as shells report it: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP. */
export const exitCodeOf = (name: InterruptName): number => 128 + constants.signals[name];

/** Whether a program's exit code says that a signal has asked it to stop. */
export const isInterruptCode = (code: number): boolean =>
  interruptNames.some((name) => exitCodeOf(name) === code);

/** What the handlers touch; tests put their own in. */
export interface InterruptHost {
  on(name: InterruptName, listener: (name: InterruptName) => void): unknown;
  off(name: InterruptName, listener: (name: InterruptName) => void): unknown;
  exit(code: number): void;
  /** Milliseconds since some moment; process has no such method, and the clock of `performance` counts. */
  now?(): number;
}

/** Work that keeps nothing and does not see the signal by itself has so long to clean up behind it. */
const cleaningMs = 1500;

/**
 * The same signal once more within this time is no second wish: programs in between, such as npx and time limits, hand a
 * Ctrl-C on that the terminal has sent to all of them already.
 */
const echoMs = 150;

/**
 * Passes the signals that ask to stop on to `interrupt`. The first one is told to the person by `tell`; the second one ends
 * the process at once, whatever it is doing.
 *
 * @returns a function that takes the handlers off again
 */
export const installInterruptHandlers = (
  interrupt: InterruptSignal,
  tell: (line: string) => void,
  host: InterruptHost = process,
): (() => void) => {
  const now = (): number => host.now?.() ?? performance.now();
  let last: { readonly name: InterruptName; readonly at: number } | undefined;
  let timer: NodeJS.Timeout | undefined;
  const listener = (name: InterruptName): void => {
    const echo = last?.name === name && now() - last.at < echoMs;
    last = { name, at: now() };
    if (echo) return;
    if (!interrupt.request(name)) {
      host.exit(exitCodeOf(name));
      return;
    }
    const { told, keepsNothing } = interrupt.activity;
    tell(`${name}: ${told}`);
    const end = (): void => {
      host.exit(exitCodeOf(name));
    };
    if (keepsNothing) timer = setTimeout(end, cleaningMs).unref();
  };
  for (const name of interruptNames) host.on(name, listener);
  return () => {
    clearTimeout(timer);
    for (const name of interruptNames) host.off(name, listener);
  };
};

/** Command lines of this process that the guard is up for. */
let guards = 0;
const endAtOnce = (name: InterruptName): void => {
  process.exit(exitCodeOf(name));
};

/**
 * Ends the process at SIGUSR1, for commands that keep nothing: Node would open a debugger's port instead, since its
 * --disable-sigusr1 comes with later versions than 20. All other signals end a process by themselves.
 *
 * @returns a function that takes the handler off again
 */
export const installDebuggerGuard = (): (() => void) => {
  if (guards++ === 0) process.on("SIGUSR1", endAtOnce);
  let released = false;
  return () => {
    if (released) return;
    released = true;
    if (--guards === 0) process.off("SIGUSR1", endAtOnce);
  };
};
