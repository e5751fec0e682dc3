import type { ProcessGroup } from "./process-group.js";

/** What process 0 decides, any JSON value, in all processes; the others' `decide` is not called. */
export const decidedByFirst = async <T>(
  group: ProcessGroup,
  decide: () => Promise<T>,
): Promise<T> => {
  const [first] = await group.gather(group.rank === 0 ? await decide() : null);
  return first as T;
};

/** Which of `pieces` are this process's: every n-th from its own number on, with their places. */
export function* ownShare<T>(
  pieces: Iterable<T>,
  { rank, size }: Pick<ProcessGroup, "rank" | "size">,
): Iterable<readonly [place: number, piece: T]> {
  let place = 0;
  for (const piece of pieces) {
    if (place % size === rank) yield [place, piece];
    place++;
  }
}

/** How many of `total` pieces all processes have done, as far as one can tell that has done `own`: they work alike fast. */
export const doneByAll = (own: number, total: number, { size }: ProcessGroup): number =>
  Math.min(own * size, total);

/**
 * What other processes are waited for with. They may have long work before them, so a signal ends the waiting; what was to come is
 * then lost, and this process has to end the others.
 *
 * @throws the signal's reason
 */
export const waitUnlessStopped = <T>(
  waiting: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> => {
  if (!signal) return waiting;
  // A process that ends meanwhile has nobody to tell of a call that failed.
  waiting.catch(() => undefined);
  return new Promise<T>((resolve, reject) => {
    const stop = (): void => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    waiting
      .finally(() => {
        signal.removeEventListener("abort", stop);
      })
      .then(resolve, reject);
  });
};
