import { multiplyDims } from "../../core/dim.js";
import { refuse, type Op, type Value } from "../op.js";

/**
 * Rotary position embedding in the half-split layout, on heads that lie side by side.
 * x [batch, seq, heads * headDim], positions int64 [batch, seq], cos and sin [maxPositions, headDim / 2].
 *
 * Each pair (x1, x2) turns to (x1 cos - x2 sin, x2 cos + x1 sin); dx turns dy back: the same op with -sin.
 * Source: Su et al., "RoFormer"; ONNX Runtime's com.microsoft RotaryEmbedding, float32.
 */
export const rotaryEmbedding: Op<readonly [x: Value, positions: Value, cos: Value, sin: Value]> = {
  opType: "RotaryEmbedding",
  domain: "com.microsoft",
  inHalf: "elementwise",
  infer([x, positions, cos, sin]) {
    const half = cos.shape[1];
    const width = x.shape[2];
    const fits =
      x.shape.length === 3 &&
      typeof half === "number" &&
      typeof width === "number" &&
      width % (2 * half) === 0 &&
      cos.shape.join() === sin.shape.join() &&
      positions.shape.join() === x.shape.slice(0, 2).join();
    if (!fits)
      refuse(
        "RotaryEmbedding",
        [x, positions, cos, sin],
        "x [batch, seq, heads * 2 * half], cos and sin [positions, half]",
      );
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  attributes: () => ({ interleaved: { int: 0 } }),
  gradient: ({ g, dy, inputs: [, positions, cos, sin] }) => [
    g.rotaryEmbedding(dy, positions, cos, g.neg(sin)),
    undefined,
    undefined,
    undefined,
  ],
  lower(g, [x, positions, cos, sin]) {
    const [batch, seq, width] = x.shape as [string, string, number];
    const half = cos.shape[1] as number;
    const heads = width / (2 * half);
    const split = g.reshape(x, [batch, seq, heads, 2 * half]);
    const [x1, x2] = g.split(split, [half, half], -1) as [Value, Value];
    const angle = (table: Value) =>
      g.reshape(g.gather(table, positions, { axis: 0 }), [batch, seq, 1, half]);
    const [c, s] = [angle(cos), angle(sin)];
    const turned = g.concat(
      [g.sub(g.mul(x1, c), g.mul(x2, s)), g.add(g.mul(x2, c), g.mul(x1, s))],
      -1,
    );
    return [g.reshape(turned, [batch, seq, multiplyDims(heads, 2 * half)])];
  },
};
