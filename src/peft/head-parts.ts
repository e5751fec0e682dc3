import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { weightOf, type LinearModule } from "../models/model.js";
import type { WeightAccess } from "../models/weights/frozen-weights.js";

/** A head of more float32 bytes than these is widened a part of its rows at a time. */
const WHOLE_HEAD_BYTES = 512 * 1024 ** 2;
/** Of one part. */
const PART_BYTES = 128 * 1024 ** 2;

/** Whether a module is an output head that would take much memory in float32, and is narrower where it lies. */
export const isLargeHead = (
  access: Pick<WeightAccess, "narrowRows">,
  module: LinearModule,
): boolean =>
  module.table === "head" &&
  !module.bias &&
  4 * module.inFeatures * module.outFeatures > WHOLE_HEAD_BYTES &&
  (access.narrowRows?.(weightOf(module)) ?? false);

/**
 * y = x weight^T of a head without bias, a part of the vocabulary after the other, so that the head is never whole in float32; the backward
 * pass widens each part again.
 *
 * @param rows the vocabulary's rows in one part
 */
export const headByParts = (
  g: Graph,
  access: Pick<WeightAccess, "embed">,
  x: Value,
  module: LinearModule,
  rows = Math.max(1, Math.floor(PART_BYTES / (4 * module.inFeatures))),
): Value => {
  const { outFeatures } = module;
  const parts = Array.from({ length: Math.ceil(outFeatures / rows) }, (_, part) => {
    const count = Math.min(rows, outFeatures - part * rows);
    const ids = BigInt64Array.from({ length: count }, (_row, i) => BigInt(part * rows + i));
    // A segment of its own for each x: what several of them read would be kept.
    const weight = g.recomputable(`${module.path} of ${String(x.id)}`, () =>
      access.embed(weightOf(module), g.constant("int64", [count], ids)),
    );
    return g.linear(x, weight);
  });
  return g.concat(parts, 1);
};
