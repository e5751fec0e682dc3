import { dimTerms, type Dim } from "../core/dim.js";
import type { Builder, Value } from "./op.js";

/** A size as int64 [1], from those that its names stand for: the sum of its terms, which are products. */
export const dimTensor = (
  g: Pick<Builder, "add" | "mul"> & { integers(numbers: readonly number[]): Value },
  dim: Dim,
  sizeOf: (name: string) => Value,
): Value => {
  if (typeof dim === "number") return g.integers([dim]);
  const terms = dimTerms(dim).map(([coefficient, names]) => {
    const [first, ...rest] = names.map(sizeOf);
    if (!first) return g.integers([coefficient]);
    const product = rest.reduce((a, b) => g.mul(a, b), first);
    return coefficient === 1 ? product : g.mul(product, g.integers([coefficient]));
  });
  return terms.reduce((a, b) => g.add(a, b));
};
