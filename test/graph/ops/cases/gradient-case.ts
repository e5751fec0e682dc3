import type { OpName } from "../../../../src/graph/ops/registry.js";
import type { GradientCheck } from "../../../support/check-gradient.js";

export interface GradientCase extends GradientCheck {
  /** What the gradient matches finite differences for: the end of the test's title. */
  readonly title: string;
}

export type GradientCases = Partial<Record<OpName, readonly GradientCase[]>>;

/** A case whose `forward` knows the names of its inputs. */
export const gradientCase = <Name extends string>(
  title: string,
  check: GradientCheck<Name>,
): GradientCase => ({ title, ...(check as GradientCheck) });
