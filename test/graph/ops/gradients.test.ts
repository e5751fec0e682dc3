import { readdirSync } from "node:fs";
import test from "ava";
import { backward } from "../../../src/graph/backward.js";
import { Graph } from "../../../src/graph/graph.js";
import { opName, type Op, type Value } from "../../../src/graph/op.js";
import { rmsNorm } from "../../../src/graph/ops/rms-norm.js";
import { softmaxCrossEntropyLoss } from "../../../src/graph/ops/softmax-cross-entropy-loss.js";
import { checkGradient, findGradientError, uniform } from "../../support/check-gradient.js";
import { elementwiseCases } from "./cases/elementwise.js";
import { fusedCases } from "./cases/fused.js";
import { gradientCase, type GradientCases } from "./cases/gradient-case.js";
import { indexingCases } from "./cases/indexing.js";
import { shapeCases } from "./cases/shapes.js";
import { sumCases } from "./cases/sums.js";

const cases: GradientCases = {
  ...elementwiseCases,
  ...shapeCases,
  ...sumCases,
  ...indexingCases,
  ...fusedCases,
  // Of the reverse walk alone: no device computes it, so it is no case of theirs.
  Joint: [
    gradientCase("of two values, which are taken out again", {
      inputs: { a: uniform([2, 3], -2, 2), b: uniform([3, 2], -2, 2) },
      forward(g, { a, b }) {
        const zero = g.scalar(0, a.dtype);
        const empty = g.constant("bool", [], Uint8Array.of(0));
        const [left, right] = g.joint([a, b], { zero, empty }) as [Value, Value];
        return g.matmul(left, g.mul(right, right));
      },
    }),
  ],
};

/** Builds a loss through which no gradient can come, and the value that asks for one. */
interface Refusal {
  readonly op: string;
  readonly title: string;
  readonly build: (g: Graph) => readonly [loss: Value, wrt: Value];
  readonly message: RegExp;
}

const x = (g: Graph): Value => g.input("x", "float32", [2, 3]);
const whole = (g: Graph, value: Value): Value => g.reduceSum(value, { axes: [0, 1] });

const refusals: readonly Refusal[] = [
  {
    op: "ReduceMax",
    title: "has no gradient",
    build: (g) => {
      const value = x(g);
      return [
        g.inScope("head", () => whole(g, g.reduceMax(value, { axes: [1], keepdims: true }))),
        value,
      ];
    },
    message:
      /^Cannot differentiate ReduceMax\(float32 \[2, 3\] and int64 \[1\]\) in head: the op has no gradient$/,
  },
  {
    op: "ScatterND",
    title: "has no gradient",
    build: (g) => {
      const value = x(g);
      const at = g.input("at", "int64", [1, 1]);
      return [whole(g, g.scatterND(value, at, g.input("row", "float32", [1, 3]))), value];
    },
    message: /^Cannot differentiate ScatterND\(float32 \[2, 3\] and .*: the op has no gradient$/,
  },
  {
    op: "TopK",
    title: "has no gradient",
    build: (g) => {
      const value = x(g);
      const k = g.input("k", "int64", [1]);
      g.input("kept", "float32", ["size"]);
      return [whole(g, g.topK(value, k, "size")[0]), value];
    },
    message:
      /^Cannot differentiate TopK\(float32 \[2, 3\] and int64 \[1\]\): the op has no gradient$/,
  },
  {
    op: "Detach",
    title: "lets no gradient through: its result is a constant",
    build: (g) => {
      const value = x(g);
      return [whole(g, g.detach(value)), value];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "LessOrEqual",
    title: "lets no gradient through: its result is no number",
    build: (g) => {
      const value = x(g);
      return [whole(g, g.cast(g.lessOrEqual(value, value), "float32")), value];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "BitwiseAnd",
    title: "lets no gradient through: bits are no numbers",
    build: (g) => {
      const bits = g.input("bits", "uint8", [2, 3]);
      return [whole(g, g.cast(g.bitwiseAnd(bits, bits), "float32")), bits];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "BitwiseOr",
    title: "lets no gradient through: bits are no numbers",
    build: (g) => {
      const bits = g.input("bits", "uint8", [2, 3]);
      return [whole(g, g.cast(g.bitwiseOr(bits, bits), "float32")), bits];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "BitShift",
    title: "lets no gradient through: bits are no numbers",
    build: (g) => {
      const bits = g.input("bits", "uint8", [2, 3]);
      return [whole(g, g.cast(g.shiftRight(bits, bits), "float32")), bits];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "Shape",
    title: "lets no gradient through: sizes do not change with the elements",
    build: (g) => {
      const value = x(g);
      return [g.reduceSum(g.cast(g.shapeOf(value), "float32"), { axes: [0] }), value];
    },
    message: /depends on none of the trainable values$/,
  },
  {
    op: "Gather",
    title: "has no gradient along an axis other than 0",
    build: (g) => {
      const value = x(g);
      return [whole(g, g.gather(value, g.integers([1]), { axis: 1 })), value];
    },
    message:
      /^Cannot differentiate Gather\(float32 \[2, 3\] and int64 \[1\]\): expected axis 0, not 1$/,
  },
  {
    op: "ScatterElements",
    title: "has no gradient where it overwrites",
    build: (g) => {
      const value = x(g);
      const at = g.input("at", "int64", [2, 1]);
      const updates = g.input("updates", "float32", [2, 1]);
      const put = g.scatterElements(value, at, updates, { axis: 1, reduction: "none" });
      return [whole(g, put), value];
    },
    message: /^Cannot differentiate ScatterElements\(.*\): expected reduction "add", not "none"$/,
  },
  {
    op: "ReduceMean",
    title: "has no gradient over a named size",
    build: (g) => {
      const value = g.input("x", "float32", ["rows", 3]);
      return [g.reduceMean(value, { axes: [0, 1] }), value];
    },
    message:
      /^Cannot differentiate ReduceMean\(float32 \[rows, 3\] .*: expected axes whose sizes are numbers$/,
  },
  {
    op: "RmsNorm",
    title: "has no gradient through its second output",
    build: (g) => {
      const value = x(g);
      const [, inv] = g.apply(rmsNorm, [value, g.input("gamma", "float32", [3])], {
        epsilon: 1e-5,
      });
      return [whole(g, inv as Value), value];
    },
    message: /^Cannot differentiate RmsNorm\(.*\): output 1 has no gradient$/,
  },
  {
    op: "SoftmaxCrossEntropyLoss",
    title: "has no gradient through the log-probabilities",
    build: (g) => {
      const value = x(g);
      const outputs = g.apply(
        softmaxCrossEntropyLoss,
        [value, g.input("labels", "int64", [2])],
        {},
      );
      return [whole(g, outputs[1] as Value), value];
    },
    message: /^Cannot differentiate SoftmaxCrossEntropyLoss\(.*\): output 1 has no gradient$/,
  },
];

/** Every op that a file of src/graph/ops gives. */
const readOps = async (): Promise<readonly Op[]> => {
  const folder = new URL("../../../src/graph/ops/", import.meta.url);
  const modules = await Promise.all(
    readdirSync(folder).map(
      (file) => import(new URL(file, folder).href) as Promise<Record<string, unknown>>,
    ),
  );
  return modules
    .flatMap((module) => Object.values(module))
    .filter(
      (value): value is Op => typeof value === "object" && value !== null && "infer" in value,
    );
};

test("every op has a name of its own, and a gradient check or a test that refuses one", async (t) => {
  const ops = await readOps();
  const names = ops.map(opName);
  t.deepEqual(
    names.filter((name, i) => names.indexOf(name) < i),
    [],
  );
  t.true(names.includes("FusedMatMul"));
  const unchecked = ops.flatMap((op) => {
    const name = opName(op);
    const checked = op.gradient
      ? (cases[name] ?? []).length > 0
      : refusals.some((refusal) => refusal.op === name);
    return checked ? [] : [name];
  });
  t.deepEqual(unchecked, []);
});

for (const [op, opCases] of Object.entries(cases)) {
  for (const { title, ...check } of opCases) {
    const precision = check.dtype === "float32" ? " (float32: no float64 kernel)" : "";
    test(`${op}'s gradient is that of finite differences ${title}${precision}`, async (t) => {
      const g = new Graph();
      const values = Object.entries(check.inputs).map(([name, { dtype, dims }]) => [
        name,
        g.input(name, dtype === "float" ? (check.dtype ?? "float64") : dtype, dims),
      ]);
      check.forward(g, Object.fromEntries(values) as Record<string, Value>);
      t.true(
        g.nodes.some((node) => opName(node.op) === op),
        `the case builds no ${op}`,
      );
      await checkGradient(t, check);
    });
  }
}

for (const { op, title, build, message } of refusals) {
  test(`${op} ${title}, and says so`, (t) => {
    const g = new Graph();
    const [loss, wrt] = build(g);
    t.throws(() => backward(g, loss, [wrt]), { instanceOf: RangeError, message });
  });
}

test("findGradientError names the first element whose gradient is wrong", async (t) => {
  const error = await findGradientError({
    inputs: { a: uniform([2], -2, 2), x: uniform([2, 3], -2, 2) },
    // Steps of 1e-9 look like a slope of 1 to differences, and have none.
    forward: (g, { a, x }) => {
      const fine = g.mul(x as Value, g.scalar(1e9, "float64"));
      const steps = g.mul(g.cast(g.cast(fine, "int64"), "float64"), g.scalar(1e-9, "float64"));
      return [g.exp(a as Value), g.add(steps, g.mul(x as Value, g.scalar(1, "float64")))];
    },
  });
  t.regex(error ?? "", /x\[0, 0\]: the rule says -?0\.\d+, differences say -?[01]\.\d+/);
});

test("findGradientError does not take zeros for a pass", async (t) => {
  const error = await findGradientError({
    inputs: { x: uniform([2], -2, 2) },
    forward: (g, { x }) => g.mul(x as Value, g.scalar(0, "float64")),
  });
  t.regex(error ?? "", /every gradient is zero/);
});
