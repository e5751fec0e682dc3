import { dimTerms, type Dim } from "../../src/core/dim.js";

/** The number that a dimension stands for where every name has the given size. @throws {RangeError} on a name without one */
export const evaluateDim = (dim: Dim, sizes: Readonly<Record<string, number>>): number => {
  let total = 0;
  for (const [coefficient, names] of dimTerms(dim)) {
    let product = coefficient;
    for (const name of names) {
      const size = sizes[name];
      if (size === undefined)
        throw new RangeError(
          `Cannot evaluate the dimension "${String(dim)}": "${name}" has no size`,
        );
      product *= size;
    }
    total += product;
  }
  return total;
};
