import { isFloat, type DType } from "../../core/dtype.js";
import { narrowFloat32 } from "../../core/half.js";
import type { Graph } from "../graph.js";
import type { Node, Op, Value } from "../op.js";
import { add } from "../ops/add.js";
import { cast } from "../ops/cast.js";
import { sub } from "../ops/sub.js";
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

/** Whether a value is a matrix of one size in every run that is computed element by element: a weight, and not as it lies. */
const isMade = ({ shape, producer }: Value): boolean =>
  shape.length === 2 &&
  shape.every((dim) => typeof dim === "number") &&
  producer?.op.inHalf === "elementwise";

/**
 * The graph with matrix products in 16 bits, and with `keep: "everything"` what stands between them; inputs, outputs and sums stay float32.
 *
 * Always in float32: softmax, norms, losses, reductions and sums of gradients (ops without `inHalf`), and what they alone read. Of
 * elementwise arithmetic, in 16 bits is what has an operand from a product and none in float32 but weights, parameters and constants, which are
 * rounded to fit. Ops that move elements leave their type as it is.
 *
 * A value is cast once; a weight or parameter once in forward and once in backward, so that no copy of it lives all the step. A cast
 * and its reverse cancel, so weights that are stored in these 16 bits are read as they lie, and those of the other 16 bits are rounded once.
 * A weight that the graph makes, W0 (1 + B A), is made in float32, and in the forward pass has two products: one with what 16 bits hold
 * of it, one with the rest.
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

    /**
     * What 16 bits lose of a weight that the graph makes of a frozen one, [out, in]: of W0 (1 + B A) all that is smaller than 2^-9, and
     * so the whole of it for the first steps. A second product has it, and the sum is in float32.
     */
    const restOfWeight = (): { readonly operand: number; readonly value: Value } | undefined => {
      const operand = inputs.findIndex(isMade);
      const [source, whole] = [inputs[operand], found[operand]];
      if (!source?.producer || !whole) return undefined;
      const made = { ...source.producer, segment: node.segment, scope: node.scope };
      const [stored] = [castTo(whole, compute)];
      const back = target.copyNode({ ...made, op: cast, attrs: { to: "float32" } }, [stored]);
      const [value] = target.copyNode({ ...made, op: sub, attrs: {} }, [
        castTo(whole, "float32"),
        back[0] as Value,
      ]);
      return value && { operand, value };
    };

    if (op === (cast as Op)) {
      const [x] = found as [Value];
      const isWidened =
        isFloat(x.dtype) && x.dtype !== "float64" && node.outputs[0]?.dtype === "float32";
      if (!isWidened) return remember(inType("float32"));
      // Weights are all that is stored in 16 bits.
      soft.add(x.id);
      return remember([x]);
    }
    if (op.inHalf === "product") {
      const [y] = inType(compute);
      const rest = node.backward ? undefined : restOfWeight();
      if (!rest || !y) return inOutputType([y as Value]);
      const more = target.copyNode(
        node,
        found.map((value, i) => castTo(i === rest.operand ? rest.value : value, compute)),
      );
      const wide = [y, more[0] as Value].map((part) => castTo(part, "float32"));
      return target.copyNode({ ...node, op: add, attrs: {} }, wide);
    }
    const runs = hasKernel(op.opType, compute);
    if (op.inHalf === undefined || reals.length === 0 || !runs) return remember(inType("float32"));
    const isNarrow = reals.some(({ id, dtype }) => dtype === compute && !soft.has(id));
    const isWide = reals.some(({ id, dtype }) => dtype === "float32" && !soft.has(id));
    if (op.inHalf === "exact") {
      const [first] = reals as [Value];
      if (reals.every(({ dtype }) => dtype === first.dtype)) return remember(inType(first.dtype));
      return remember(inType(isNarrow && !isWide ? compute : "float32"));
    }
    const narrows =
      keep === "everything" &&
      isNarrow &&
      !isWide &&
      !wideNodes.has(node) &&
      !node.outputs.some(isMade);
    return remember(inType(narrows ? compute : "float32"));
  });
  return prune(typed);
};
