import { isFloat, type DType } from "../../core/dtype.js";
import { narrowFloat32 } from "../../core/half.js";
import type { Graph } from "../graph.js";
import type { Node, Op, Value } from "../op.js";
import { add } from "../ops/add.js";
import { cast } from "../ops/cast.js";
import { mul } from "../ops/mul.js";
import type { HasKernel } from "./lower.js";
import { prune } from "./prune.js";
import { rewrite } from "./rewrite.js";

/** In which 16 bits a graph computes, and what of it. */
export interface GraphPrecision {
  readonly compute: "bfloat16" | "float16";
  /** "matmuls": matrix products alone. "everything": arithmetic element by element between them, too. */
  readonly keep: "matmuls" | "everything";
}

/** A value that is the whole of, or a row or two of, what was there before the run: it may be rounded wherever that helps. */
const isSoftLeaf = ({ shape }: Value): boolean => shape.every((dim) => typeof dim === "number");

/**
 * Nodes whose results nothing but float32 arithmetic reads: norms, softmax, losses, sums, outputs, and sums and products of their operands.
 *
 * Computed in float32 they need no more casts than in 16 bits. So the residual stream, masks and statistics stay in float32.
 */
const readInFloat32 = (graph: Graph): ReadonlySet<Node> => {
  const readers = new Map<number, Node[]>();
  for (const node of graph.nodes)
    for (const { id } of node.inputs) readers.set(id, [...(readers.get(id) ?? []), node]);
  const wide = new Set<Node>();
  for (const node of [...graph.nodes].reverse())
    if (
      node.outputs.every(({ id }) =>
        (readers.get(id) ?? []).every(
          (reader) =>
            reader.op.inHalf === undefined || (reader.op.inHalf !== "product" && wide.has(reader)),
        ),
      )
    )
      wide.add(node);
  return wide;
};

/** Of w * (1 + x), w and x; undefined where a node is no such product. */
const factorNearOne = (
  graph: Graph,
  { op, inputs }: Node,
): { readonly w: Value; readonly x: Value } | undefined => {
  if (op !== (mul as Op)) return undefined;
  for (const [i, sum] of inputs.entries()) {
    if (sum.producer?.op !== (add as Op)) continue;
    const isOne = ({ id }: Value): boolean => {
      const data = graph.constants.get(id)?.data;
      return data?.length === 1 && data[0] === 1;
    };
    const x = sum.producer.inputs.find((term) => !isOne(term));
    if (x && sum.producer.inputs.some(isOne)) return { w: inputs[1 - i] as Value, x };
  }
  return undefined;
};

/**
 * The graph with matrix products in 16 bits, and with `keep: "everything"` what stands between them; inputs, outputs and sums stay float32.
 *
 * Always in float32: softmax, norms, losses, reductions and sums of gradients (ops without `inHalf`), and what they alone read. Of
 * elementwise arithmetic, in 16 bits is what has an operand from a product and none in float32 but weights, parameters and constants, which are
 * rounded to fit. Ops that move elements leave their type as it is.
 *
 * A value is cast once; a weight or parameter once in forward and once in backward, so that no copy of it lives all the step. A cast
 * and its reverse cancel, so weights that are stored in these 16 bits are read as they lie, and those of the other 16 bits are rounded once.
 * In 16 bits, w (1 + x) is w + w x: of 1 + x eight bits would be left, and HiRA's updates are smaller than that.
 * Run it last, on forward and backward together; recomputed parts keep theirs apart.
 *
 * @param hasKernel ops that lack a kernel in 16 bits stay float32; products must have one, or a form in other ops
 */
export const inPrecision = (
  graph: Graph,
  { compute, keep }: GraphPrecision,
  hasKernel: HasKernel = () => true,
): Graph => {
  const wideNodes = readInFloat32(graph);
  const outputs = new Set([...graph.outputs.values()].map(({ id }) => id));
  /** Values of the new graph that come from leaves alone. */
  const soft = new Set<number>();
  const casts = new Map<string, Value>();

  const typed = rewrite(graph, (node, lookup, target) => {
    const { op, inputs } = node;
    const castTo = (x: Value, to: DType): Value => {
      if (x.dtype === to) return x;
      const constant = target.constants.get(x.id);
      const phase = soft.has(x.id) && !constant && node.backward ? "backward" : "";
      const key = `${String(x.id)} ${to} ${phase}`;
      const known = casts.get(key);
      if (known) return known;
      const made =
        constant && to === compute && constant.data instanceof Float32Array
          ? target.constant(to, constant.value.shape as number[], narrowFloat32(constant.data, to))
          : (target.copyNode({ ...node, op: cast, attrs: { to } }, [x])[0] as Value);
      casts.set(key, made);
      // What is widened is exact, and needs no cast to come back.
      if (to === "float32")
        for (const either of ["", "backward"])
          casts.set(`${String(made.id)} ${x.dtype} ${either}`, x);
      if (soft.has(x.id)) soft.add(made.id);
      return made;
    };
    /** Whether a value may be had in 16 bits for the asking. */
    const isSoft = (source: Value, found: Value): boolean => {
      if (soft.has(found.id)) return true;
      const constant = graph.constants.get(source.id);
      const isLeaf = source.producer === undefined && (!constant || isRoundable(constant.data));
      if (isLeaf && isSoftLeaf(source)) soft.add(found.id);
      return soft.has(found.id);
    };
    /** Beyond the range of 16 bits a constant stays what it is: MASKED is one. */
    const isRoundable = (data: unknown): boolean =>
      data instanceof Float32Array &&
      (compute === "bfloat16" || data.every((x) => Math.abs(x) <= 65504));

    const isFloat32 = (value: Value): boolean => value.dtype === "float32";
    const found = inputs.map(lookup);
    const reals = found.filter((_, i) => isFloat32(inputs[i] as Value));
    const softness = inputs.map((input, i) => isFloat32(input) && isSoft(input, found[i] as Value));
    const allSoft = reals.length > 0 && inputs.every((x, i) => !isFloat32(x) || softness[i]);
    const inOutputType = (made: readonly Value[]): readonly Value[] =>
      made.map((value, i) => {
        const old = node.outputs[i] as Value;
        return outputs.has(old.id) && isFloat32(old) ? castTo(value, "float32") : value;
      });
    const remember = (made: readonly Value[]): readonly Value[] => {
      if (allSoft) for (const { id } of made) soft.add(id);
      return inOutputType(made);
    };
    const inType = (to: DType): readonly Value[] =>
      target.copyNode(
        node,
        found.map((value, i) => (isFloat32(inputs[i] as Value) ? castTo(value, to) : value)),
      );

    if (op === (cast as Op)) {
      const [x] = found as [Value];
      const isWidened =
        isFloat(x.dtype) && x.dtype !== "float64" && node.outputs[0]?.dtype === "float32";
      if (!isWidened) return remember(inType("float32"));
      // Weights are all that is stored in 16 bits.
      soft.add(x.id);
      return remember([x]);
    }
    if (op.inHalf === "product") return inOutputType(inType(compute));
    const runs = hasKernel(op.opType, compute);
    if (op.inHalf === undefined || reals.length === 0 || !runs) return remember(inType("float32"));
    const isNarrow = reals.some(({ id, dtype }) => dtype === compute && !soft.has(id));
    const isWide = reals.some(({ id, dtype }) => dtype === "float32" && !soft.has(id));
    if (op.inHalf === "exact") {
      const [first] = reals as [Value];
      if (reals.every(({ dtype }) => dtype === first.dtype)) return remember(inType(first.dtype));
      return remember(inType(isNarrow && !isWide ? compute : "float32"));
    }
    const narrows = keep === "everything" && isNarrow && !isWide && !wideNodes.has(node);
    const near = narrows ? factorNearOne(graph, node) : undefined;
    if (near) {
      const [w, x] = [castTo(lookup(near.w), compute), castTo(lookup(near.x), compute)];
      const [update] = target.copyNode(node, [w, x]);
      return target.copyNode({ ...node, op: add }, [w, update as Value]);
    }
    return remember(inType(narrows ? compute : "float32"));
  });
  return prune(typed);
};
