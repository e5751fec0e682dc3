import { evaluateDim } from "../../src/core/dim.js";
import { allocate, elementCount, type DType, type TypedArray } from "../../src/core/dtype.js";
import {
  bfloat16FromFloat32,
  float16FromFloat32,
  widenBfloat16,
  widenFloat16,
} from "../../src/core/half.js";
import { randomStream } from "../../src/core/random.js";
import { backward } from "../../src/graph/backward.js";
import { Graph } from "../../src/graph/graph.js";
import { opName, type Value } from "../../src/graph/op.js";
import { prune } from "../../src/graph/passes/prune.js";
import { lower, type HasKernel } from "../../src/graph/passes/lower.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { elementwiseCases } from "../../test/graph/ops/cases/elementwise.js";
import { fusedCases } from "../../test/graph/ops/cases/fused.js";
import type { GradientCase } from "../../test/graph/ops/cases/gradient-case.js";
import { indexingCases } from "../../test/graph/ops/cases/indexing.js";
import { shapeCases } from "../../test/graph/ops/cases/shapes.js";
import { sumCases } from "../../test/graph/ops/cases/sums.js";
import type { TestInput } from "../../test/support/check-gradient.js";

/** Dtypes that ops are tried in. */
export type OpDType = "float32" | "float16" | "bfloat16";

/** Every op's cases, by its name. */
export const opCases = (): readonly { readonly op: string; readonly check: GradientCase }[] =>
  Object.entries({
    ...elementwiseCases,
    ...shapeCases,
    ...sumCases,
    ...indexingCases,
    ...fusedCases,
  }).flatMap(([op, cases]) => cases.map((check) => ({ op, check })));

/** A case's graph with its gradients, and what is fed to it. */
export interface OpGraph {
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
}

const rounders: Readonly<Record<OpDType, (x: number) => number>> = {
  float32: (x) => x,
  float16: float16FromFloat32,
  bfloat16: bfloat16FromFloat32,
};

/** Numbers as a tensor of a float dtype, each rounded once. */
const floats = (dtype: OpDType, shape: readonly number[], numbers: Float32Array): Tensor => {
  const data = allocate(dtype, elementCount(shape));
  const round = rounders[dtype];
  for (let i = 0; i < numbers.length; i++) (data as Float32Array)[i] = round(numbers[i] ?? 0);
  return Tensor.fromArray(dtype, shape, data);
};

const numbersOf = (name: string, { shape, element }: TestInput): Float32Array => {
  const stream = randomStream(1, `check-gradient:${name}`);
  return Float32Array.from({ length: elementCount(shape) }, (_, i) => element(stream, i));
};

const given = (dtype: "int64" | "bool", shape: readonly number[], from: Float32Array): Tensor =>
  dtype === "bool"
    ? Tensor.fromArray("bool", shape, Uint8Array.from(from))
    : Tensor.fromArray("int64", shape, BigInt64Array.from(from, BigInt));

const sizesOf = ({ inputs, sizes }: GradientCase): Readonly<Record<string, number>> => {
  const found: Record<string, number> = { ...sizes };
  for (const { dims, shape } of Object.values(inputs))
    dims.forEach((dim, axis) => {
      if (typeof dim === "string") found[dim] ??= shape[axis] ?? NaN;
    });
  return found;
};

/**
 * A case's outputs, and the gradients of a weighted sum of them, in one dtype.
 *
 * @param narrow what the inputs are rounded to first, where the graph computes in more: both then start from the same numbers
 */
export const buildOpGraph = (check: GradientCase, dtype: OpDType, narrow = dtype): OpGraph => {
  const sizes = sizesOf(check);
  const g = new Graph();
  const feeds: Record<string, Tensor> = {};
  const feed = (name: string, shape: readonly number[], numbers: Float32Array): void => {
    const wide = narrow === dtype ? numbers : widen(floats(narrow, shape, numbers));
    feeds[name] = floats(dtype, shape, wide);
  };
  const values: Record<string, Value> = {};
  for (const [name, input] of Object.entries(check.inputs)) {
    const numbers = numbersOf(name, input);
    if (input.dtype === "float") feed(name, input.shape, numbers);
    else feeds[name] = given(input.dtype, input.shape, numbers);
    values[name] = g.input(name, input.dtype === "float" ? dtype : input.dtype, input.dims);
  }
  const made = check.forward(g, values);
  const outputs = Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
  const terms = outputs.map((output, i) => {
    g.output(`output ${String(i)}`, output);
    const name = `weight of output ${String(i)}`;
    const shape = output.shape.map((dim) => evaluateDim(dim, sizes));
    const stream = randomStream(1, name);
    const weights = { length: elementCount(shape) };
    feed(
      name,
      shape,
      Float32Array.from(weights, () => 2 * stream.uniform() - 1),
    );
    const same = output.dtype === dtype ? output : g.cast(output, dtype);
    const weighted = g.mul(same, g.input(name, dtype, output.shape));
    const row = g.reshape(weighted, [1, ...output.shape]);
    return g.reshape(g.reduceSum(row, { axes: [...row.shape.keys()] }), []);
  });
  const loss = terms.reduce((a, b) => g.add(a, b));
  const names = Object.entries(check.inputs).flatMap(([name, { differentiated }]) =>
    differentiated ? [name] : [],
  );
  const wrt = names.map((name) => values[name] as Value);
  backward(g, loss, wrt).forEach((gradient, i) =>
    g.output(`gradient of ${names[i] ?? ""}`, gradient),
  );
  const graph = prune(g);
  const fed = Object.fromEntries(
    [...graph.inputs.keys()].map((name) => [name, feeds[name] as Tensor]),
  );
  return { graph, feeds: fed };
};

/** Elements of a float tensor on the host as float32. */
export const widen = ({ dtype, data }: Pick<Tensor, "dtype" | "data">): Float32Array =>
  widenElements(dtype, data);

/** Elements of any dtype as float32. */
export const widenElements = (dtype: DType, data: TypedArray): Float32Array => {
  if (dtype === "float16") return widenFloat16(data as Uint16Array);
  if (dtype === "bfloat16") return widenBfloat16(data as Uint16Array);
  return Float32Array.from(data as Float32Array, Number);
};

/** What a graph, lowered for a device, still has of ops that the device lacks in their dtype: "Log bfloat16". */
export const opsWithoutForm = (graph: Graph, hasKernel: HasKernel): readonly string[] => [
  ...new Set(
    lower(graph, hasKernel).nodes.flatMap(({ op, inputs: [first] }) =>
      first && !op.lower && !hasKernel(op.opType, first.dtype)
        ? [`${opName(op)} ${first.dtype}`]
        : [],
    ),
  ),
];
