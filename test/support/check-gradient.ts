import { cpuHasKernel } from "../../src/runtime/devices/cpu.js";
import type { ExecutionContext } from "ava";
import { evaluateDim, type Shape } from "../../src/core/dim.js";
import { allocate, elementCount, type DType, type TypedArray } from "../../src/core/dtype.js";
import { randomStream, type RandomStream } from "../../src/core/random.js";
import { backward } from "../../src/graph/backward.js";
import { Graph } from "../../src/graph/graph.js";
import { encodeOnnx } from "../../src/graph/onnx/encode.js";
import type { Value } from "../../src/graph/op.js";
import { dropJoints } from "../../src/graph/passes/drop-joints.js";
import { lower } from "../../src/graph/passes/lower.js";
import { prune } from "../../src/graph/passes/prune.js";
import { OrtSession } from "../../src/runtime/ort/session.js";
import type { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";

/** An input of a graph under test: its type there, and its elements. */
export interface TestInput {
  /** "float" is the dtype of the check. */
  readonly dtype: "float" | "int64" | "bool";
  /** Sizes at run time. */
  readonly shape: readonly number[];
  /** Sizes in the graph, where some may be names. */
  readonly dims: Shape;
  /** Whether a gradient is taken with regard to it. */
  readonly differentiated: boolean;
  readonly element: (stream: RandomStream, index: number) => number;
}

interface InputOptions {
  readonly dims?: Shape;
  /** True for a float input that the check takes no gradient of. */
  readonly frozen?: boolean;
}

/** Floats drawn uniformly from [low, high), the same in each run. */
export const uniform = (
  shape: readonly number[],
  low: number,
  high: number,
  { dims = shape, frozen = false }: InputOptions = {},
): TestInput => ({
  dtype: "float",
  shape,
  dims,
  differentiated: !frozen,
  element: (stream) => low + (high - low) * stream.uniform(),
});

/** Given whole numbers. */
export const integers = (
  shape: readonly number[],
  numbers: readonly number[],
  { dims = shape }: InputOptions = {},
): TestInput => ({
  dtype: "int64",
  shape,
  dims,
  differentiated: false,
  element: (_, index) => numbers[index] ?? NaN,
});

/** Given truth values, 0 or 1. */
export const booleans = (shape: readonly number[], bits: readonly number[]): TestInput => ({
  ...integers(shape, bits),
  dtype: "bool",
});

export interface GradientCheck<Name extends string = string> {
  readonly inputs: Readonly<Record<Name, TestInput>>;
  /** Builds what is differentiated: one value, or several that all count. */
  readonly forward: (g: Graph, x: Readonly<Record<Name, Value>>) => Value | readonly Value[];
  /** Default float64; float32 (coarser) where ONNX Runtime has no float64 kernel. */
  readonly dtype?: "float64" | "float32";
  /** Sizes of names that no input's dims hold: those that splitAtRunTime makes. */
  readonly sizes?: Readonly<Record<string, number>>;
}

/** Numbers of one run: everything as float64, by name. */
export interface Measured {
  readonly loss: number;
  readonly outputs: readonly Float64Array[];
  /** By the name of the input. */
  readonly gradients: ReadonlyMap<string, Float64Array>;
}

type Point = ReadonlyMap<string, TypedArray>;

/** A graph with gradients and its session. */
export interface Probe {
  /** The graph as it was run. */
  readonly graph: Graph;
  /** The inputs' elements, the same for every dtype. */
  readonly point: Point;
  run(point: Point): Promise<Measured>;
  dispose(): void;
}

const elementsOf = (
  name: string,
  { dtype, shape, element }: TestInput,
  float: DType,
): TypedArray => {
  const stream = randomStream(1, `check-gradient:${name}`);
  const data = allocate(dtype === "float" ? float : dtype, elementCount(shape));
  for (let i = 0; i < data.length; i++) {
    // Rounded first: float32 and float64 then compute with the very same numbers.
    const number = Math.fround(element(stream, i));
    if (data instanceof BigInt64Array) data[i] = BigInt(number);
    else data[i] = number;
  }
  return data;
};

const sizesOf = ({ inputs, sizes }: GradientCheck): Readonly<Record<string, number>> => {
  const found: Record<string, number> = { ...sizes };
  for (const { dims, shape } of Object.values(inputs))
    dims.forEach((dim, axis) => {
      if (typeof dim === "string") found[dim] ??= shape[axis] ?? NaN;
    });
  return found;
};

/**
 * Builds loss = sum over all outputs of weight * output, with random weights, and its gradients.
 *
 * Every output and gradient must come out of the run in the shape that the graph inferred.
 */
export const openProbe = async (
  check: GradientCheck,
  {
    rewrite = (g) => lower(prune(dropJoints(g)), cpuHasKernel),
    open = (g) => OrtSession.create({ model: encodeOnnx(g), threads: 1 }),
  }: {
    readonly rewrite?: (g: Graph) => Graph;
    /** Where it runs; default: on the CPU. */
    readonly open?: (g: Graph) => Promise<Session>;
  } = {},
): Promise<Probe> => {
  const float = check.dtype ?? "float64";
  const sizes = sizesOf(check);
  const shapeOf = ({ shape }: Value): readonly number[] =>
    shape.map((dim) => evaluateDim(dim, sizes));
  const g = new Graph();
  const point = new Map<string, TypedArray>();
  const shapes = new Map<string, readonly number[]>();
  const values: Record<string, Value> = {};
  for (const [name, input] of Object.entries(check.inputs)) {
    values[name] = g.input(name, input.dtype === "float" ? float : input.dtype, input.dims);
    point.set(name, elementsOf(name, input, float));
    shapes.set(name, input.shape);
  }
  const made = check.forward(g, values);
  const outputs = Array.isArray(made) ? (made as readonly Value[]) : [made as Value];
  const terms = outputs.map((output, i) => {
    const name = `weight of output ${String(i)}`;
    const shape = shapeOf(output);
    point.set(name, elementsOf(name, uniform(shape, -1, 1), float));
    shapes.set(name, shape);
    g.output(`output ${String(i)}`, output);
    const weighted = g.mul(output, g.input(name, float, output.shape));
    return g.reshape(
      g.reduceSum(g.reshape(weighted, [1, ...output.shape]), {
        axes: [...output.shape.keys(), output.shape.length],
      }),
      [],
    );
  });
  const loss = terms.reduce((a, b) => g.add(a, b));
  g.output("loss", loss);
  const names = Object.entries(check.inputs).flatMap(([name, input]) =>
    input.differentiated ? [name] : [],
  );
  const gradients = backward(
    g,
    loss,
    names.map((name) => values[name] as Value),
  );
  names.forEach((name, i) => g.output(`gradient of ${name}`, gradients[i] as Value));

  const graph = rewrite(g);
  const session = await open(graph);
  const run = async (at: Point): Promise<Measured> => {
    const feeds = [...graph.inputs].map(([name, { dtype }]) => {
      const data = at.get(name);
      if (!data) throw new RangeError(`no elements for ${name}`);
      return [name, Tensor.fromArray(dtype, shapes.get(name) ?? [], data)] as const;
    });
    const results = await session.run(Object.fromEntries(feeds), {}, { sync: true });
    const take = (name: string): Float64Array => {
      const [tensor, value] = [results[name], graph.outputs.get(name)];
      if (!tensor || !value) throw new RangeError(`no output ${name}`);
      const expected = shapeOf(value).join();
      if (tensor.shape.join() !== expected)
        throw new RangeError(`${name}: found [${tensor.shape.join()}], inferred [${expected}]`);
      const numbers = Float64Array.from(tensor.data as Float64Array);
      tensor.dispose();
      return numbers;
    };
    const measured = {
      loss: take("loss")[0] ?? NaN,
      outputs: outputs.map((_, i) => take(`output ${String(i)}`)),
      gradients: new Map(names.map((name) => [name, take(`gradient of ${name}`)])),
    };
    for (const [, tensor] of feeds) tensor.dispose();
    return measured;
  };
  return { graph, point, run, dispose: () => session.dispose() };
};

/** Step of the central difference, and the relative error that it may show. */
const precision = {
  float64: { step: 1e-5, tolerance: 1e-6 },
  float32: { step: 1e-2, tolerance: 1e-3 },
} as const;

/** The point moved by `step` times the directions. */
const moved = (
  point: Point,
  directions: ReadonlyMap<string, Float64Array>,
  step: number,
): Point => {
  const next = new Map(point);
  for (const [name, direction] of directions) {
    const data = (point.get(name) as Float64Array).slice();
    direction.forEach((slope, i) => (data[i] = (data[i] ?? NaN) + step * slope));
    next.set(name, data);
  }
  return next;
};

/** (loss(x + step d) - loss(x - step d)) / (2 step) */
const difference = async (
  probe: Probe,
  directions: ReadonlyMap<string, Float64Array>,
  step: number,
): Promise<number> => {
  const up = await probe.run(moved(probe.point, directions, step));
  const down = await probe.run(moved(probe.point, directions, -step));
  return (up.loss - down.loss) / (2 * step);
};

/** The first element whose derivative is not what differences say, in words. */
const findWrongElement = async (
  check: GradientCheck,
  probe: Probe,
  gradients: ReadonlyMap<string, Float64Array>,
): Promise<string> => {
  const { step, tolerance } = precision[check.dtype ?? "float64"];
  for (const [name, gradient] of gradients) {
    const scale = gradient.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0);
    for (const [i, found] of gradient.entries()) {
      const direction = new Float64Array(gradient.length);
      direction[i] = 1;
      const expected = await difference(probe, new Map([[name, direction]]), step);
      if (Math.abs(found - expected) <= tolerance * Math.max(scale, Math.abs(expected))) continue;
      let rest = i;
      const place = [...(check.inputs[name]?.shape ?? [])]
        .reverse()
        .map((size) => {
          const at = rest % size;
          rest = Math.floor(rest / size);
          return at;
        })
        .reverse();
      return `${name}[${place.join(", ")}]: the rule says ${String(found)}, differences say ${String(expected)}`;
    }
  }
  return "every element alone agrees";
};

/**
 * Compares the gradients of a graph with a central difference along one random direction of all inputs.
 *
 * @returns what differs, naming the first wrong element; undefined if nothing does
 */
export const findGradientError = async (check: GradientCheck): Promise<string | undefined> => {
  const { step, tolerance } = precision[check.dtype ?? "float64"];
  const probe = await openProbe(check);
  try {
    const { gradients } = await probe.run(probe.point);
    const stream = randomStream(2, "check-gradient:direction");
    const directions = new Map(
      [...gradients].map(([name, { length }]) => [
        name,
        Float64Array.from({ length }, () => 2 * stream.uniform() - 1),
      ]),
    );
    let [found, squares] = [0, 0];
    for (const [name, gradient] of gradients)
      gradient.forEach((slope, i) => {
        const share = slope * (directions.get(name)?.[i] ?? NaN);
        found += share;
        squares += share ** 2;
      });
    if (squares === 0) return "every gradient is zero, so the check says nothing";
    const expected = await difference(probe, directions, step);
    const error = Math.abs(found - expected) / Math.max(Math.sqrt(squares), Math.abs(expected));
    if (error <= tolerance) return undefined;
    const where = await findWrongElement(check, probe, gradients);
    return `relative error ${error.toExponential(1)} along a random direction; ${where}`;
  } finally {
    probe.dispose();
  }
};

/** Passes if the gradients of `forward` are those of central differences; see findGradientError. */
export const checkGradient = async <Name extends string>(
  t: ExecutionContext,
  check: GradientCheck<Name>,
): Promise<void> => {
  t.is(await findGradientError(check as GradientCheck), undefined);
};
