import type { Builder, Op, Value } from "../op.js";
import { inferFloat } from "./elementwise.js";

/** Beyond it erf is 1 to the last digit of float64, and within it so many terms of the series are. */
const LAST = 6;
const TERMS = 110;

/** 2 / sqrt(pi) * x * e^(-x^2) * sum of (2 x^2)^n / (1 * 3 * ... * (2n + 1)): no two terms cancel. Source: Abramowitz and Stegun, 7.1.6. */
const series = (g: Builder, x: Value): Value => {
  const number = (value: number): Value => g.scalar(value, x.dtype);
  const square = g.mul(x, x);
  const isSmall = g.lessOrEqual(square, number(LAST ** 2));
  const z = g.where(isSmall, square, number(0));
  let sum = number(1);
  for (let n = TERMS; n > 0; n--)
    sum = g.add(number(1), g.mul(g.mul(z, number(2 / (2 * n + 1))), sum));
  const near = g.mul(g.mul(x, number(2 / Math.sqrt(Math.PI))), g.mul(g.exp(g.neg(z)), sum));
  return g.where(isSmall, near, g.where(g.lessOrEqual(x, number(0)), number(-1), number(1)));
};

/**
 * The error function: y = 2 / sqrt(pi) * the integral of e^(-t^2) from 0 to x. dx = dy * 2 / sqrt(pi) * e^(-x^2).
 *
 * Source: ONNX Erf, opset 13, of which ONNX Runtime's CPU provider has a float32 kernel.
 */
export const erf: Op<readonly [x: Value]> = {
  opType: "Erf",
  infer: ([x]) => [inferFloat("Erf", x)],
  gradient: ({ g, dy, inputs: [x] }) => [
    g.mul(dy, g.mul(g.scalar(2 / Math.sqrt(Math.PI), x.dtype), g.exp(g.neg(g.mul(x, x))))),
  ],
  lower: (g, [x]) => [series(g, x)],
};
