import type { GradientCheck } from "../../../support/check-gradient.js";

export interface GradientCase extends GradientCheck {
  /** What the gradient matches finite differences for: the end of the test's title. */
  readonly title: string;
}

/** By the name of the op whose gradient they check. */
export type GradientCases = Readonly<Record<string, readonly GradientCase[]>>;

/** A case whose `forward` knows the names of its inputs. */
export const gradientCase = <Name extends string>(
  title: string,
  check: GradientCheck<Name>,
): GradientCase => ({ title, ...(check as GradientCheck) });
