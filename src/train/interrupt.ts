export type InterruptName = "SIGINT" | "SIGTERM";

/**
 * A wish to stop, which the training loop looks at between steps.
 *
 * The first request lets the loop finish its step and save; the second one aborts what is running.
 */
export class InterruptSignal {
  #requested: InterruptName | undefined;
  readonly #abort = new AbortController();

  /** The first signal that came, if one did. */
  get requested(): InterruptName | undefined {
    return this.#requested;
  }

  /** Fires at the second request; long work takes it along. */
  get abort(): AbortSignal {
    return this.#abort.signal;
  }

  /** @returns true for the first request */
  request(name: InterruptName): boolean {
    if (this.#requested === undefined) {
      this.#requested = name;
      return true;
    }
    this.#abort.abort(new InterruptedError(name));
    return false;
  }

  /** @throws {InterruptedError} if a request has come; for work that has nothing to save */
  throwIfRequested(): void {
    if (this.#requested !== undefined) throw new InterruptedError(this.#requested);
  }
}

/** Thrown to leave a command after an interrupt; the command line turns it into its exit code, 130 or 143. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";

  constructor(readonly signal: InterruptName) {
    super(`Stopped by ${signal}`);
  }
}
