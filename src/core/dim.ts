/**
 * A dimension: a whole number, or a polynomial in named sizes such as `"seq"`, `"batch*seq"`, `"beams+past"`.
 *
 * Strings are canonical (terms and factors sorted, a plain number last), so equal sizes are equal strings.
 */
export type Dim = number | string;
/** The sizes of a tensor's axes, the outermost first; a scalar has none. */
export type Shape = readonly Dim[];

/** Monomial ("batch*seq"; "" is the constant term) -> coefficient. */
type Polynomial = ReadonlyMap<string, number>;

const parse = (dim: Dim): Polynomial => {
  if (typeof dim === "number") return new Map(dim === 0 ? [] : [["", dim]]);
  const terms = new Map<string, number>();
  for (const term of dim.split("+")) {
    let coefficient = 1;
    const symbols: string[] = [];
    for (const factor of term.split("*").map((part) => part.trim())) {
      if (/^-?\d+$/.test(factor)) coefficient *= Number(factor);
      else if (/^[A-Za-z_]\w*$/.test(factor)) symbols.push(factor);
      else
        throw new RangeError(
          `Cannot read the dimension "${dim}": found "${factor}", expected a name or a whole number`,
        );
    }
    const key = symbols.sort().join("*");
    terms.set(key, (terms.get(key) ?? 0) + coefficient);
  }
  return terms;
};

const format = (polynomial: Polynomial): Dim => {
  const terms = [...polynomial].filter(([, coefficient]) => coefficient !== 0);
  if (terms.length === 0) return 0;
  const [first] = terms;
  if (terms.length === 1 && first && first[0] === "") return first[1];
  return terms
    .sort(([a], [b]) => (b === "" || (a !== "" && a < b) ? -1 : 1))
    .map(([key, coefficient]) => {
      if (key === "") return String(coefficient);
      return coefficient === 1 ? key : `${String(coefficient)}*${key}`;
    })
    .join("+");
};

/** The canonical form of a dimension. @throws {RangeError} if it is not a polynomial in names */
export const canonicalDim = (dim: Dim): Dim => (typeof dim === "number" ? dim : format(parse(dim)));

/** The sum of dimensions, like terms collected; without arguments 0. */
export const addDims = (...dims: readonly Dim[]): Dim => {
  const sum = new Map<string, number>();
  for (const dim of dims)
    for (const [key, coefficient] of parse(dim)) sum.set(key, (sum.get(key) ?? 0) + coefficient);
  return format(sum);
};

/** The product of dimensions, multiplied out; without arguments 1. */
export const multiplyDims = (...dims: readonly Dim[]): Dim => {
  let product: Polynomial = new Map([["", 1]]);
  for (const dim of dims) {
    const next = new Map<string, number>();
    for (const [a, x] of product) {
      for (const [b, y] of parse(dim)) {
        const key = [...a.split("*"), ...b.split("*")].filter(Boolean).sort().join("*");
        next.set(key, (next.get(key) ?? 0) + x * y);
      }
    }
    product = next;
  }
  return format(product);
};

/** The terms of a dimension as [coefficient, names], constant term included. */
export const dimTerms = (dim: Dim): readonly (readonly [number, readonly string[]])[] =>
  [...parse(dim)].map(([key, coefficient]) => [coefficient, key === "" ? [] : key.split("*")]);

/** The number that a dimension stands for where every name has the given size. @throws {RangeError} on a name without one */
export const evaluateDim = (dim: Dim, sizes: Readonly<Record<string, number>>): number => {
  let total = 0;
  for (const [coefficient, names] of dimTerms(dim)) {
    let product = coefficient;
    for (const name of names) {
      const size = sizes[name];
      if (size === undefined)
        throw new RangeError(`Cannot evaluate the dimension "${dim}": "${name}" has no size`);
      product *= size;
    }
    total += product;
  }
  return total;
};

/** Whether shapes are equal axis by axis, as expressions: a name equals itself alone. */
export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

/**
 * The shape that two shapes broadcast to, by ONNX's multidirectional rule.
 *
 * A named size broadcasts only against 1 and itself.
 * @returns undefined where they do not fit
 */
export const broadcastShapes = (a: Shape, b: Shape): Shape | undefined => {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x === y || y === 1) out.push(x);
    else if (x === 1) out.push(y);
    else return undefined;
  }
  return out;
};
