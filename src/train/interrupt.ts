/**
 * The signals that ask a run to stop: Ctrl-C, `kill`, a terminal that is closed, and the two that batch systems such as
 * Slurm send some time before they end a job.
 */
export const interruptNames = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
/** A signal that ends a run in good order; see interruptNames. */
export type InterruptName = (typeof interruptNames)[number];

/** What a signal finds at work. */
export interface Activity {
  /** What the first signal is answered with, behind its name. */
  readonly told: string;
  /** Nothing of it is worth waiting for: where it does not see the signal by itself, the process is ended soon. */
  readonly keepsNothing?: boolean;
}

const once = "once more to stop at once";

/** What commands are at when a signal comes. */
export const activities = {
  loading: { told: `stopping; ${once}`, keepsNothing: true },
  training: { told: `finishing this step and saving; ${once} without saving` },
  validating: { told: `leaving the validation and saving; ${once} without saving` },
  answering: { told: `stopping; rows that are answered are kept; ${once}` },
  sweep: { told: "letting the run that is at work save and stop; once more to end both at once" },
} as const satisfies Readonly<Record<string, Activity>>;

/** Long enough for most batches to end by themselves, short beside the 10 s that docker stop and the 30 s that Slurm wait. */
const defaultGraceMs = 4000;

/**
 * A wish to stop. Whoever works looks at `requested` or takes one of three signals along:
 * `stop` fires at the first request, `hurry` some seconds later, `abort` at the second request.
 */
export class InterruptSignal {
  readonly #graceMs: number;
  readonly #stop = new AbortController();
  readonly #hurry = new AbortController();
  readonly #abort = new AbortController();
  #requested: InterruptName | undefined;
  #activity: Activity = activities.loading;
  #timer: NodeJS.Timeout | undefined;

  /** @param options.graceMs from the first request until `hurry` fires */
  constructor({ graceMs = defaultGraceMs }: { readonly graceMs?: number } = {}) {
    this.#graceMs = graceMs;
  }

  /** The first signal that came, if one did. */
  get requested(): InterruptName | undefined {
    return this.#requested;
  }

  /** Fires at the first request: for work that loses nothing by stopping where it is. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** Fires some seconds after the first request: for a piece of work that may as well come to its end, but not if it is long. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  /** Fires at the second request: for work that the first one has to let finish. */
  get abort(): AbortSignal {
    return this.#abort.signal;
  }

  /** What a signal would find at work now. */
  get activity(): Activity {
    return this.#activity;
  }

  /** Does `work`, which is told of as `activity` if a signal comes meanwhile. */
  async during<T>(activity: Activity, work: () => Promise<T>): Promise<T> {
    const before = this.#activity;
    this.#activity = activity;
    try {
      return await work();
    } finally {
      this.#activity = before;
    }
  }

  /** @returns true for the first request */
  request(name: InterruptName): boolean {
    if (this.#requested === undefined) {
      this.#requested = name;
      this.#stop.abort(new InterruptedError(name));
      const hurry = (): void => {
        this.#hurry.abort(new InterruptedError(name));
      };
      this.#timer = setTimeout(hurry, this.#graceMs).unref();
      return true;
    }
    clearTimeout(this.#timer);
    this.#hurry.abort(new InterruptedError(name));
    this.#abort.abort(new InterruptedError(name));
    return false;
  }

  /** @throws {InterruptedError} if a request has come; for work that has nothing to save */
  throwIfRequested(): void {
    if (this.#requested !== undefined) throw new InterruptedError(this.#requested);
  }
}

/** Thrown to leave a command after an interrupt; the command line turns it into its exit code, 130 or 143 and the like. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";

  constructor(readonly signal: InterruptName) {
    super(`Stopped by ${signal}`);
  }
}
