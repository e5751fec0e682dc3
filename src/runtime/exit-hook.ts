import { writeSync } from "node:fs";
import { inspect } from "node:util";
import { isMainThread } from "node:worker_threads";
import { cLibrary } from "./ort/library.js";

/** The arguments of every native call that runs on another thread: reachable here, so never collected under it. */
const inFlight = new Set<object>();

let exitNow: ((code: number) => void) | undefined;

/** Whether a library was loaded that crashes when node takes it down, also when nothing is in flight. */
let tearsBadly = false;

let uncaught: { readonly error: unknown } | undefined;
const onUncaught = (error: unknown): void => {
  const handled =
    process.listenerCount("uncaughtException") > 0 || process.hasUncaughtExceptionCaptureCallback();
  if (!handled) uncaught = { error };
};

/**
 * Leaves without tearing down, because a call that ends while node tears down may crash the process (exit code 134 or
 * 139 instead of the asked one: seen for some lengths of run, not for all). All other exit listeners that were there when the
 * last run began have run by then.
 */
const onExit = (code: number): void => {
  if (inFlight.size === 0 && !tearsBadly) return;
  // Node prints an uncaught error after its exit listeners: too late here.
  if (uncaught) writeSync(2, `Uncaught ${inspect(uncaught.error)}\n`);
  exitNow?.(code);
};

/**
 * Marks a native call on another thread as begun, and keeps `args` alive until leaveNative.
 *
 * While such a call is in flight, `process.exit(code)` and an uncaught error end the process with _exit(code). In a
 * worker thread there is no such guard (_exit would end the whole process): a worker must await its runs.
 */
export const enterNative = (args: object): void => {
  if (inFlight.size === 0 && isMainThread) watchExit();
  inFlight.add(args);
};

const watchExit = (): void => {
  if (exitNow === undefined) {
    exitNow = cLibrary().func("_exit", "void", ["int"]) as (code: number) => void;
    process.on("uncaughtExceptionMonitor", onUncaught);
  }
  // To the end of the list: listeners added since the last run come first.
  process.off("exit", onExit);
  process.on("exit", onExit);
};

/** From now on the process ends with _exit, after its exit listeners. In a worker thread nothing happens. */
export const exitWithoutTeardown = (): void => {
  if (!isMainThread) return;
  tearsBadly = true;
  watchExit();
};

/** Marks the call as ended. */
export const leaveNative = (args: object): void => {
  inFlight.delete(args);
};
