import { normalizeAxis, refuse, type Op, type Value } from "../op.js";
import { offsetOf, take } from "./folding.js";

/**
 * Elements [start, end) of one axis whose size is a number. Source: ONNX Slice, opset 13.
 *
 * dx is dy with zeros before and after.
 */
export const slice: Op<
  readonly [x: Value, starts: Value, ends: Value, axes: Value],
  { readonly axis: number; readonly start: number; readonly end: number }
> = {
  opType: "Slice",
  inHalf: "exact",
  infer([x], { axis, start, end }) {
    const along = normalizeAxis("Slice", axis, x);
    const size = x.shape[along];
    if (typeof size !== "number" || start < 0 || end > size || start >= end)
      refuse(
        "Slice",
        [x],
        `an axis ${String(along)} that holds [${String(start)}, ${String(end)})`,
      );
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === along ? end - start : dim)) }];
  },
  gradient({ g, dy, inputs: [x], attrs: { axis, start, end } }) {
    const along = normalizeAxis("Slice", axis, x);
    const size = x.shape[along] as number;
    return [
      g.pad(dy, { axis: along, before: start, after: size - end }),
      undefined,
      undefined,
      undefined,
    ];
  },
  lower(g, [x], { axis, start, end }) {
    const along = normalizeAxis("Slice", axis, x);
    const sizes = [start, end - start, (x.shape[along] as number) - end];
    const kept = sizes.filter((size) => size > 0);
    return [g.split(x, kept, along)[start > 0 ? 1 : 0] as Value];
  },
  fold([x], { axis, start }, shape) {
    if (!x) return undefined;
    const along = normalizeAxis("Slice", axis, x);
    return take(x, shape, (place) =>
      offsetOf(
        x.shape,
        place.map((at, i) => (i === along ? at + start : at)),
      ),
    );
  },
};
