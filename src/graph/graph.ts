import { canonicalDim, type Dim, type Shape } from "../core/dim.js";
import { allocate, elementCount, type DType, type TypedArray } from "../core/dtype.js";
import { narrowFloat32 } from "../core/half.js";
import { memoized } from "../core/memoized.js";
import { dimTensor } from "./dim-tensor.js";
import {
  normalizeAxis,
  type Builder,
  type Node,
  type Op,
  type Reduction,
  type TensorType,
  type Value,
} from "./op.js";
import { add } from "./ops/add.js";
import { bitShift } from "./ops/bit-shift.js";
import { bitwiseAnd } from "./ops/bitwise-and.js";
import { bitwiseOr } from "./ops/bitwise-or.js";
import { cast } from "./ops/cast.js";
import { concat } from "./ops/concat.js";
import { detach } from "./ops/detach.js";
import { div } from "./ops/div.js";
import { erf } from "./ops/erf.js";
import { exp } from "./ops/exp.js";
import { expand } from "./ops/expand.js";
import { gatherElements } from "./ops/gather-elements.js";
import { gather } from "./ops/gather.js";
import { identity } from "./ops/identity.js";
import { joint } from "./ops/joint.js";
import { layerNormalization } from "./ops/layer-normalization.js";
import { lessOrEqual } from "./ops/less-or-equal.js";
import { log } from "./ops/log.js";
import { logSoftmax } from "./ops/log-softmax.js";
import { matMul, fusedMatMul } from "./ops/matmul.js";
import { mul } from "./ops/mul.js";
import { neg } from "./ops/neg.js";
import { pad } from "./ops/pad.js";
import { reciprocal } from "./ops/reciprocal.js";
import { reduceMax } from "./ops/reduce-max.js";
import { reduceMean } from "./ops/reduce-mean.js";
import { reduceSum } from "./ops/reduce-sum.js";
import type { ReductionAttrs } from "./ops/reduction.js";
import { relu } from "./ops/relu.js";
import { reshape, reshapeShorthand } from "./ops/reshape.js";
import { rmsNorm } from "./ops/rms-norm.js";
import { rotaryEmbedding } from "./ops/rotary-embedding.js";
import { scatterElements } from "./ops/scatter-elements.js";
import { scatterND } from "./ops/scatter-nd.js";
import { shape } from "./ops/shape.js";
import { sigmoid } from "./ops/sigmoid.js";
import { silu } from "./ops/silu.js";
import { slice } from "./ops/slice.js";
import { softmaxCrossEntropyLoss } from "./ops/softmax-cross-entropy-loss.js";
import { softmax } from "./ops/softmax.js";
import { split } from "./ops/split.js";
import { sqrt } from "./ops/sqrt.js";
import { sub } from "./ops/sub.js";
import { tanh } from "./ops/tanh.js";
import { topK } from "./ops/top-k.js";
import { transpose, turnedFrom } from "./ops/transpose.js";
import { where } from "./ops/where.js";

interface Constant {
  readonly value: Value;
  readonly data: TypedArray;
}

/** Where in the model a node is made; see Node. */
interface Place {
  readonly scope: readonly string[];
  readonly segment: string | undefined;
  readonly backward: boolean;
  readonly layer: number | undefined;
}

/**
 * A graph under construction: inputs, weights, constants, nodes in the order in which they were made, and named outputs.
 *
 * The methods that build nodes are ONNX ops by name. Shape and dtype of every value are known when it is made; what does
 * not fit is a RangeError there, naming the op, its place in the model and the types found.
 */
export class Graph implements Builder {
  readonly inputs = new Map<string, Value>();
  /** Frozen weights: external initializers of the ONNX file, whose memory the session is given by name. */
  readonly weights = new Map<string, Value>();
  readonly constants = new Map<number, Constant>();
  readonly outputs = new Map<string, Value>();
  readonly nodes: Node[] = [];

  #nextId = 0;
  #place: Place = { scope: [], segment: undefined, backward: false, layer: undefined };
  readonly #scalars = new Map<string, Value>();
  readonly #sizes = new Map<string, Value>();
  readonly #shapes = new Map<string, Value>();

  // Leaves

  /** A tensor that every run is given. Names in `shape` may differ from run to run. */
  input(name: string, dtype: DType, shape: Shape): Value {
    return this.#leaf(this.inputs, name, dtype, shape);
  }

  /** A frozen tensor that the session holds for its life. @throws {RangeError} on a shape that is not all numbers */
  weight(name: string, dtype: DType, shape: readonly number[]): Value {
    return this.#leaf(this.weights, name, dtype, shape);
  }

  /** A tensor whose elements are part of the graph. */
  constant(dtype: DType, shape: readonly number[], data: TypedArray): Value {
    if (data.length !== elementCount(shape))
      throw new RangeError(
        `Cannot make a constant: found ${String(data.length)} elements, expected [${shape.join(", ")}]`,
      );
    const value = this.#newValue({ dtype, shape }, undefined, 0);
    this.constants.set(value.id, { value, data });
    return value;
  }

  /** One number as a tensor of rank 0. */
  scalar(number: number, dtype: DType): Value {
    return memoized(this.#scalars, `${dtype} ${String(number)}`, () => {
      if (dtype === "bfloat16" || dtype === "float16")
        return this.constant(dtype, [], narrowFloat32(Float32Array.of(number), dtype));
      const data = allocate(dtype, 1);
      if (data instanceof BigInt64Array) data[0] = BigInt(number);
      else data[0] = number;
      return this.constant(dtype, [], data);
    });
  }

  /** int64 numbers as a tensor of rank 1. */
  integers(numbers: readonly number[]): Value {
    return memoized(this.#shapes, numbers.join(), () =>
      this.constant("int64", [numbers.length], BigInt64Array.from(numbers, BigInt)),
    );
  }

  /** Makes a value an output of the graph. A leaf becomes one through Identity. */
  output(name: string, value: Value): void {
    if (this.outputs.has(name))
      throw new RangeError(`Cannot add the output "${name}": found one of that name`);
    const known = [...this.outputs.values()].includes(value) || value.producer === undefined;
    this.outputs.set(name, known ? this.identity(value) : value);
  }

  // Where a node belongs

  /** Names the part of the model that `build` makes, for errors and profiles. */
  inScope<T>(name: string, build: () => T): T {
    return this.#at(
      { scope: name === "" ? this.#place.scope : [...this.#place.scope, name] },
      build,
    );
  }

  /**
   * Lets the backward pass compute again what `build` makes, from what it reads, instead of keeping it: a layer, say.
   * Inside another such part, the outer one counts. See passes/recompute.ts.
   */
  recomputable<T>(segment: string, build: () => T): T {
    return this.#at({ segment: this.#place.segment ?? segment }, build);
  }

  /** The same for what costs next to nothing: casts, norms, activations, a weight made from small factors. */
  cheap = <T>(build: () => T): T => this.recomputable("cheap", build);

  /** Says that `build` makes a layer, by its place among those that follow each other. */
  inLayer<T>(layer: number, build: () => T): T {
    return this.#at({ layer }, build);
  }

  /** Makes what `build` does where a node of another graph stands. */
  inPlaceOf<T>(node: Pick<Node, "scope" | "segment" | "backward" | "layer">, build: () => T): T {
    const { scope, segment, backward, layer } = node;
    return this.#at({ scope: scope === "" ? [] : [scope], segment, backward, layer }, build);
  }

  /** Marks what `build` makes as backward work. */
  inBackward<T>(build: () => T): T {
    return this.#at({ backward: true, segment: undefined }, build);
  }

  #at<T>(place: Partial<Place>, build: () => T): T {
    const outer = this.#place;
    this.#place = { ...outer, ...place };
    try {
      return build();
    } finally {
      this.#place = outer;
    }
  }

  // Nodes

  /** Adds a node of any op. @throws {RangeError} if dtypes or shapes do not fit */
  apply<Inputs extends readonly Value[], Attrs extends object>(
    op: Op<Inputs, Attrs>,
    inputs: Inputs,
    attrs: Attrs,
  ): readonly Value[] {
    const { scope } = this.#place;
    let types: readonly TensorType[];
    try {
      types = op.infer(inputs, attrs);
    } catch (error) {
      if (error instanceof RangeError && scope.length > 0)
        throw new RangeError(`In ${scope.join(".")}: ${error.message}`, { cause: error });
      throw error;
    }
    const outputs: Value[] = [];
    const id = this.#nextId++;
    const node: Node = { ...this.#place, id, op, inputs, outputs, attrs, scope: scope.join(".") };
    types.forEach((type, index) => outputs.push(this.#newValue(type, node, index)));
    this.nodes.push(node);
    return outputs;
  }

  /** Copies a node of another graph, with its place in the model, onto other inputs. */
  copyNode(
    node: Node,
    inputs: readonly Value[],
    overrides: Partial<Pick<Node, "backward" | "segment">> = {},
  ): readonly Value[] {
    const { op, attrs } = node;
    return this.inPlaceOf({ ...node, ...overrides }, () => this.apply(op, inputs, attrs));
  }

  add = (a: Value, b: Value): Value => this.#one(add, [a, b]);
  sub = (a: Value, b: Value): Value => this.#one(sub, [a, b]);
  mul = (a: Value, b: Value): Value => this.#one(mul, [a, b]);
  div = (a: Value, b: Value): Value => this.#one(div, [a, b]);
  neg = (x: Value): Value => this.#one(neg, [x]);
  exp = (x: Value): Value => this.#one(exp, [x]);
  log = (x: Value): Value => this.#one(log, [x]);
  sqrt = (x: Value): Value => this.#one(sqrt, [x]);
  reciprocal = (x: Value): Value => this.#one(reciprocal, [x]);
  sigmoid = (x: Value): Value => this.#one(sigmoid, [x]);
  relu = (x: Value): Value => this.#one(relu, [x]);
  tanh = (x: Value): Value => this.#one(tanh, [x]);
  erf = (x: Value): Value => this.#one(erf, [x]);
  silu = (x: Value): Value => this.#one(silu, [x]);
  /** x as a constant: no gradient flows through it. */
  detach = (x: Value): Value => this.#one(detach, [x]);
  identity = (x: Value): Value => this.#one(identity, [x]);
  /** The values as they are; their gradients are made at one time. See ops/joint.ts. */
  joint = (
    values: readonly Value[],
    { zero, empty }: { readonly zero: Value; readonly empty: Value },
  ): readonly Value[] => this.apply(joint, [zero, empty, ...values], {});
  shapeOf = (x: Value): Value => this.#one(shape, [x]);
  where = (condition: Value, a: Value, b: Value): Value => this.#one(where, [condition, a, b]);
  lessOrEqual = (a: Value, b: Value): Value => this.#one(lessOrEqual, [a, b]);
  bitwiseAnd = (a: Value, b: Value): Value => this.#one(bitwiseAnd, [a, b]);
  bitwiseOr = (a: Value, b: Value): Value => this.#one(bitwiseOr, [a, b]);
  shiftLeft = (a: Value, b: Value): Value => this.#one(bitShift, [a, b], { direction: "LEFT" });
  shiftRight = (a: Value, b: Value): Value => this.#one(bitShift, [a, b], { direction: "RIGHT" });
  softmax = (x: Value, attrs: { readonly axis: number }): Value => this.#one(softmax, [x], attrs);
  logSoftmax = (x: Value, attrs: { readonly axis: number }): Value =>
    this.#one(logSoftmax, [x], attrs);

  /** x in another dtype; x itself where it has that dtype already. */
  cast = (x: Value, to: DType): Value => (x.dtype === to ? x : this.#one(cast, [x], { to }));

  /** y = alpha op(a) op(b); op exchanges the last two axes if asked. */
  matmul(
    a: Value,
    b: Value,
    options: { readonly transA?: boolean; readonly transB?: boolean; readonly alpha?: number } = {},
  ): Value {
    const { transA = false, transB = false, alpha = 1 } = options;
    const plain = !transA && !transB && alpha === 1;
    return this.#one(plain ? matMul : fusedMatMul, [a, b], { transA, transB, alpha });
  }

  /** A matrix with its axes exchanged; of one that is made so, the matrix from which it is. */
  turn(x: Value): Value {
    return turnedFrom(x) ?? this.transpose(x, [1, 0]);
  }

  /**
   * y = x weight^T + bias. x [rows, in], weight [out, in], bias [out], y [rows, out]. A weight that `turn` makes is read as it lies.
   */
  linear(x: Value, weight: Value, bias?: Value): Value {
    const turned = turnedFrom(weight);
    const y = turned ? this.matmul(x, turned) : this.matmul(x, weight, { transB: true });
    return bias ? this.add(y, bias) : y;
  }

  /**
   * x with the same elements in another shape; x itself where it has that shape.
   *
   * `sameCount` says that both shapes hold equally many elements though their names do not show it.
   * @throws {RangeError} if the numbers of elements differ
   */
  reshape(x: Value, shape: Shape, { sameCount = false } = {}): Value {
    const to = shape.map(canonicalDim);
    if (to.join() === x.shape.join()) return x;
    const shorthand = reshapeShorthand(to, x.shape);
    const target = shorthand ? this.integers(shorthand) : this.dims(to);
    return this.#one(reshape, [x, target], {
      to,
      sameCount,
      zeroCopies: shorthand !== undefined,
    });
  }

  transpose = (x: Value, perm: readonly number[]): Value => this.#one(transpose, [x], { perm });

  concat = (values: readonly Value[], axis: number): Value => {
    const [only] = values;
    return values.length === 1 && only ? only : this.#one(concat, values, { axis });
  };

  /** Pieces of the given sizes along one axis. */
  split(x: Value, sizes: readonly Dim[], axis: number): readonly Value[] {
    return this.apply(split, [x, this.dims(sizes)], { axis, sizes, sizesAtRunTime: false });
  }

  /** Pieces whose sizes (int64 [names.length]) each run is given; `names` are the pieces' new dimensions. */
  splitAtRunTime(x: Value, sizes: Value, names: readonly string[], axis: number): readonly Value[] {
    names.forEach((name, i) =>
      this.#sizes.set(name, this.gather(sizes, this.integers([i]), { axis: 0 })),
    );
    return this.apply(split, [x, sizes], { axis, sizes: names, sizesAtRunTime: true });
  }

  slice(
    x: Value,
    attrs: { readonly axis: number; readonly start: number; readonly end: number },
  ): Value {
    const { start, end, axis } = attrs;
    return this.#one(
      slice,
      [x, this.integers([start]), this.integers([end]), this.integers([axis])],
      attrs,
    );
  }

  /** Zeros before and after one axis; `after` may be a named size. */
  pad(
    x: Value,
    attrs: { readonly axis: number; readonly before: number; readonly after: Dim },
  ): Value {
    const rank = x.shape.length;
    const pads: Dim[] = Array.from({ length: 2 * rank }, () => 0);
    const axis = normalizeAxis("Pad", attrs.axis, x);
    pads[axis] = attrs.before;
    pads[rank + axis] = attrs.after;
    return this.#one(pad, [x, this.dims(pads), this.scalar(0, x.dtype)], attrs);
  }

  gather = (x: Value, indices: Value, attrs: { readonly axis: number }): Value =>
    this.#one(gather, [x, indices], attrs);
  gatherElements = (x: Value, indices: Value, attrs: { readonly axis: number }): Value =>
    this.#one(gatherElements, [x, indices], attrs);
  scatterElements = (
    data: Value,
    indices: Value,
    updates: Value,
    attrs: { readonly axis: number; readonly reduction: "add" | "none" },
  ): Value => this.#one(scatterElements, [data, indices, updates], attrs);
  scatterND = (data: Value, indices: Value, updates: Value): Value =>
    this.#one(scatterND, [data, indices, updates]);

  reduceSum = (x: Value, attrs: Reduction): Value => this.#reduce(reduceSum, x, attrs);
  reduceMean = (x: Value, attrs: Reduction): Value => this.#reduce(reduceMean, x, attrs);
  reduceMax = (x: Value, attrs: Reduction): Value => this.#reduce(reduceMax, x, attrs);

  /** x repeated to a shape that it broadcasts to; x itself where it has that shape. */
  expand(x: Value, shape: Shape): Value {
    const to = shape.map(canonicalDim);
    return to.join() === x.shape.join() ? x : this.#one(expand, [x, this.dims(to)], { to });
  }

  zeros = (dtype: DType, shape: Shape): Value => this.expand(this.scalar(0, dtype), shape);

  /** The k (int64 [1], known at run time) largest of the last axis, and their indices; `size` names k. */
  topK = (x: Value, k: Value, size: string): readonly [values: Value, indices: Value] =>
    this.apply(topK, [x, k], { size }) as readonly [Value, Value];

  /** RMS norm over the last axis with a gain. */
  rmsNorm = (x: Value, gamma: Value, attrs: { readonly epsilon: number }): Value =>
    this.#one(rmsNorm, [x, gamma], attrs);
  /** Layer norm over the last axis with a gain and a bias. */
  layerNormalization = (
    x: Value,
    gamma: Value,
    beta: Value,
    attrs: { readonly epsilon: number },
  ): Value => this.#one(layerNormalization, [x, gamma, beta], attrs);
  rotaryEmbedding = (x: Value, positions: Value, cos: Value, sin: Value): Value =>
    this.#one(rotaryEmbedding, [x, positions, cos, sin]);
  /** -log softmax(logits)[label] of every row: [rows]. */
  softmaxCrossEntropyLoss = (logits: Value, labels: Value): Value =>
    this.#one(softmaxCrossEntropyLoss, [logits, labels]);

  // Sizes at run time

  /** The size that a name stands for in this run, int64 [1]. @throws {RangeError} if no input has a dimension of that name */
  size(name: string): Value {
    return memoized(this.#sizes, name, () => {
      for (const input of this.inputs.values()) {
        const axis = input.shape.indexOf(name);
        if (axis >= 0) return this.gather(this.shapeOf(input), this.integers([axis]), { axis: 0 });
      }
      throw new RangeError(
        `Cannot find the size "${name}": found no input with a dimension of that name`,
      );
    });
  }

  /** Sizes as int64 [length]: a constant where all are numbers, otherwise computed in each run. */
  dims(sizes: readonly Dim[]): Value {
    if (sizes.every((size) => typeof size === "number")) return this.integers(sizes);
    return memoized(this.#shapes, sizes.join(), () =>
      this.concat(
        sizes.map((size) => dimTensor(this, size, (name) => this.size(name))),
        0,
      ),
    );
  }

  #reduce(
    op: Op<readonly [Value, Value], ReductionAttrs>,
    x: Value,
    { axes, keepdims = false }: Reduction,
  ): Value {
    return this.#one(op, [x, this.integers(axes)], { axes, keepdims });
  }

  #one<Inputs extends readonly Value[], Attrs extends object>(
    op: Op<Inputs, Attrs>,
    inputs: Inputs,
    ...[attrs]: object extends Attrs ? [] : [attrs: Attrs]
  ): Value {
    return this.apply(op, inputs, (attrs ?? {}) as Attrs)[0] as Value;
  }

  #leaf(table: Map<string, Value>, name: string, dtype: DType, shape: Shape): Value {
    if (this.inputs.has(name) || this.weights.has(name))
      throw new RangeError(`Cannot add "${name}": found an input or weight of that name`);
    const value = this.#newValue({ dtype, shape: shape.map(canonicalDim) }, undefined, 0);
    table.set(name, value);
    return value;
  }

  #newValue({ dtype, shape }: TensorType, producer: Node | undefined, index: number): Value {
    return { id: this.#nextId++, dtype, shape, producer, index };
  }
}
