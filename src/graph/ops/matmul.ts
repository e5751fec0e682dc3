import { broadcastShapes, type Shape } from "../../core/dim.js";
import { refuse, type GradientContext, type Op, type TensorType, type Value } from "../op.js";

/** y = alpha · a b, either factor transposed first. */
export interface MatMulAttrs {
  /** Exchange the last two axes of a. */
  readonly transA: boolean;
  /** Exchange the last two axes of b. */
  readonly transB: boolean;
  readonly alpha: number;
}

const inferMatMul = (
  op: string,
  a: Value,
  b: Value,
  { transA, transB }: MatMulAttrs,
): TensorType => {
  const expected = `two matrices whose inner sizes agree (transA ${String(transA)}, transB ${String(transB)})`;
  if (a.shape.length < 2 || b.shape.length < 2 || a.dtype !== b.dtype) refuse(op, [a, b], expected);
  const matrix = (shape: Shape, trans: boolean) => {
    const [rows, columns] = shape.slice(-2) as [string, string];
    return trans ? [columns, rows] : [rows, columns];
  };
  const [m, k] = matrix(a.shape, transA) as [string, string];
  const [k2, n] = matrix(b.shape, transB) as [string, string];
  const stack = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  if (k !== k2 || !stack) return refuse(op, [a, b], expected);
  return { dtype: a.dtype, shape: [...stack, m, n] };
};

/** With A = op(a), B = op(b), y = alpha A B: dA = alpha dy B^T, dB = alpha A^T dy, each written without a transpose. */
const gradient = ({
  g,
  dy,
  inputs: [a, b],
  attrs: { transA, transB, alpha },
}: GradientContext<readonly [Value, Value], MatMulAttrs>) => [
  transA
    ? g.matmul(b, dy, { transA: transB, transB: true, alpha })
    : g.matmul(dy, b, { transB: !transB, alpha }),
  transB
    ? g.matmul(dy, a, { transA: true, transB: transA, alpha })
    : g.matmul(a, dy, { transA: !transA, alpha }),
];

/** y = a b. a [..., m, k], b [..., k, n], y [..., m, n]; leading axes broadcast. Source: ONNX MatMul, opset 13. */
export const matMul: Op<readonly [a: Value, b: Value], MatMulAttrs> = {
  opType: "MatMul",
  inHalf: "product",
  infer: ([a, b], attrs) => [inferMatMul("MatMul", a, b, attrs)],
  gradient,
};

/**
 * y = alpha op(a) op(b), where op exchanges the last two axes if asked.
 *
 * A constant weight in [out, in] layout is read in place (a Transpose node would be folded into a second copy).
 * Source: ONNX Runtime's com.microsoft FusedMatMul, float32 only.
 */
export const fusedMatMul: Op<readonly [a: Value, b: Value], MatMulAttrs> = {
  opType: "FusedMatMul",
  domain: "com.microsoft",
  inHalf: "product",
  infer: ([a, b], attrs) => [inferMatMul("FusedMatMul", a, b, attrs)],
  attributes: ({ transA, transB, alpha }) => ({
    transA: { int: Number(transA) },
    transB: { int: Number(transB) },
    alpha: { float: alpha },
  }),
  gradient,
  lower(g, [a, b], { transA, transB, alpha }) {
    const swap = (x: Value): Value => {
      const last = x.shape.length - 1;
      return g.transpose(x, [...x.shape.keys()].slice(0, -2).concat(last, last - 1));
    };
    const y = g.matmul(transA ? swap(a) : a, transB ? swap(b) : b);
    return [alpha === 1 ? y : g.mul(y, g.scalar(alpha, y.dtype))];
  },
};
