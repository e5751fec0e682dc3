import type { Writable } from "node:stream";
import { messageOf } from "../core/errors.js";
import type { OutputStream } from "./style-text.js";

/** process.stdout or process.stderr, of which a failed write ends nothing. */
export interface StandardOutput extends OutputStream {
  /** What has gone wrong with it, `found <this>`; undefined while all is well, and where its reader has only left early. */
  readonly fault: string | undefined;
  /** Is called at the fault, once. */
  onFault: ((fault: string) => void) | undefined;
  /** Resolves once everything written has reached the system, or has failed to. */
  flush(): Promise<void>;
}

type Stream = Writable & Pick<OutputStream, "isTTY" | "columns">;

const guarded = new WeakMap<Stream, StandardOutput>();

/**
 * Guards one of the process's streams: after the first failed write nothing more is written, and the fault is kept.
 *
 * Node reports such a fault as an event, after the call that wrote, and an event without a listener ends the process.
 * A reader that has seen enough, such as head, is no fault (EPIPE).
 */
export const guardOutput = (stream: Stream): StandardOutput => {
  const known = guarded.get(stream);
  if (known) return known;
  let fault: string | undefined;
  let gone = false;
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (gone) return;
    gone = true;
    if (error.code === "EPIPE") return;
    fault = messageOf(error);
    output.onFault?.(fault);
  });
  const output: StandardOutput = {
    onFault: undefined,
    get fault() {
      return fault;
    },
    get isTTY() {
      return stream.isTTY;
    },
    get columns() {
      return stream.columns;
    },
    write: (text) => gone || stream.write(text),
    flush: () =>
      new Promise((resolve) => {
        // The event of a failed write comes in a later turn than the write's own callback.
        const settle = (): void => void setImmediate(resolve);
        if (gone) settle();
        else stream.write("", settle);
      }),
  };
  guarded.set(stream, output);
  return output;
};
