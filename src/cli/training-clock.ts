import type { TrainingProgressOptions } from "../report/progress.js";

/** Reckons how long a training run still takes, its validations among it. */
export interface TrainingClock {
  /** Update `step` is done. */
  step(step: number): void;
  /** This share of a validation is done. */
  validating(share: number): void;
  /** The validation is over. */
  validated(): void;
  /** Infinity before the first update. */
  secondsLeft(): number;
}

/**
 * left = seconds an update * updates left + seconds a validation * validations left.
 *
 * A validation is reckoned as so many updates until one has been timed; one that is under way, by what is done of it.
 * @param now in milliseconds
 */
export const trainingClock = (
  total: number,
  start: number,
  validation: TrainingProgressOptions["validation"],
  now: () => number,
): TrainingClock => {
  const startMs = now();
  let [reached, spentMs, timed] = [start, 0, 0];
  let current: { readonly fromMs: number; readonly share: number } | undefined;
  /** Validations up to this update are over. */
  let validatedStep = start;
  const secondsAnUpdate = (): number => {
    const busyMs = now() - startMs - spentMs - (current ? now() - current.fromMs : 0);
    if (reached > start) return busyMs / 1000 / (reached - start);
    return reached < total ? Infinity : 0;
  };
  const secondsAValidation = (): number => {
    if (current && current.share > 0) return (now() - current.fromMs) / 1000 / current.share;
    return timed > 0 ? spentMs / 1000 / timed : secondsAnUpdate() * (validation?.updatesEach ?? 0);
  };
  return {
    step(step) {
      reached = step;
    },
    validating(share) {
      current = { fromMs: current?.fromMs ?? now(), share };
    },
    validated() {
      if (current) {
        spentMs += now() - current.fromMs;
        timed++;
      }
      current = undefined;
      validatedStep = reached;
    },
    secondsLeft() {
      const updates = total - reached;
      const next = Math.max(reached, validatedStep + 1);
      const validations = (validation?.from(next) ?? 0) - (current?.share ?? 0);
      return (
        (updates > 0 ? updates * secondsAnUpdate() : 0) +
        (validations > 0 ? validations * secondsAValidation() : 0)
      );
    },
  };
};
