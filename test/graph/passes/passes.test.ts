import test, { type ExecutionContext } from "ava";
import { Graph } from "../../../src/graph/graph.js";
import { opName, type Node } from "../../../src/graph/op.js";
import { prune } from "../../../src/graph/passes/prune.js";
import { recompute } from "../../../src/graph/passes/recompute.js";
import { shareSubexpressions } from "../../../src/graph/passes/share-subexpressions.js";
import { countOps, float32, runGraph } from "../../support/run-graph.js";
import { smallNetwork, smallNetworkFeeds } from "../../support/small-network.js";

/** Both graphs take the same inputs, and give the same bits under the same names. */
const sameNumbers = async (t: ExecutionContext, before: Graph, after: Graph): Promise<void> => {
  t.deepEqual([...after.inputs.keys()], [...before.inputs.keys()]);
  t.deepEqual([...after.outputs.keys()], [...before.outputs.keys()]);
  const feeds = smallNetworkFeeds(before);
  const options = { optimization: "none" } as const;
  const [expected, found] = [
    await runGraph(before, feeds, options),
    await runGraph(after, feeds, options),
  ];
  t.true(Object.values(expected).every((data) => (data as Float32Array).some((x) => x !== 0)));
  t.deepEqual(found, expected);
};

const isBackward = (node: Node): boolean => node.backward;

test("prune leaves no node that no output depends on, and changes no number", async (t) => {
  const g = smallNetwork(2);
  const dead = g.exp(g.neg(g.input("unread", "float32", [1])));
  const pruned = prune(g);
  await sameNumbers(t, g, pruned);
  const read = new Set(pruned.nodes.flatMap((node) => node.inputs.map(({ id }) => id)));
  for (const { id } of pruned.outputs.values()) read.add(id);
  t.true(pruned.nodes.every((node) => node.outputs.some(({ id }) => read.has(id))));
  t.is(countOps(g).Exp, 1, dead.dtype);
  t.is(countOps(pruned).Exp, undefined);
});

test("prune drops weights that nobody reads, and keeps inputs", (t) => {
  const g = new Graph();
  g.weight("unread", "float32", [2]);
  g.weight("dead", "float32", [2]);
  g.exp(g.weights.get("dead") ?? g.scalar(0, "float32"));
  g.input("unfed", "float32", [2]);
  g.output("y", g.neg(g.weight("read", "float32", [2])));
  const pruned = prune(g);
  t.deepEqual([...pruned.weights.keys()], ["read"]);
  t.deepEqual([...pruned.inputs.keys()], ["unfed"]);
});

test("prune keeps a node of which one output is read", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [4]);
  g.output("y", g.split(x, [1, 3], 0)[1] ?? x);
  t.deepEqual(countOps(prune(g)), { Split: 1 });
});

test("shareSubexpressions makes equal nodes one, in chains and with equal constants", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [3]);
  const two = () => g.constant("float32", [], Float32Array.of(2));
  const twice = () => g.exp(g.mul(x, two()));
  g.output("y", g.add(twice(), g.mul(twice(), g.neg(twice()))));
  const shared = shareSubexpressions(g);
  t.deepEqual(countOps(shared), { Mul: 2, Exp: 1, Neg: 1, Add: 1 });
  await sameNumbers(t, g, shared);
});

test("shareSubexpressions tells attributes, inputs, constants and recomputable parts apart", (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [3, 3]);
  const distinct = [
    g.softmax(x, { axis: 0 }),
    g.softmax(x, { axis: 1 }),
    g.recomputable("a", () => g.softmax(x, { axis: 1 })),
    g.recomputable("b", () => g.softmax(x, { axis: 1 })),
    g.mul(x, g.scalar(1, "float32")),
    g.mul(x, g.constant("float32", [1], Float32Array.of(1))),
    g.mul(x, g.scalar(2, "float32")),
    g.sub(g.exp(x), x),
    g.sub(x, g.exp(x)),
  ];
  distinct.forEach((value, i) => g.output(String(i), value));
  t.deepEqual(countOps(shareSubexpressions(g)), { Softmax: 4, Mul: 3, Exp: 1, Sub: 2 });
});

test("shareSubexpressions keeps two outputs that are one value under both names", async (t) => {
  const g = new Graph();
  const x = g.input("x", "float32", [2]);
  g.output("a", g.exp(x));
  g.output("b", g.exp(x));
  const shared = shareSubexpressions(g);
  t.deepEqual(countOps(shared), { Exp: 1, Identity: 1 });
  const { a, b } = await runGraph(shared, { x: float32([2], [1, 2]) });
  t.deepEqual(a, b);
});

/** What backward nodes read of the forward pass: its values stay in memory until then. */
const keptValues = (graph: Graph): readonly Node[] =>
  [
    ...new Set(
      graph.nodes
        .filter(isBackward)
        .flatMap((node) => node.inputs.map(({ producer }) => producer))
        .filter((producer) => producer !== undefined),
    ),
  ].filter((producer) => !producer.backward);

test("recompute makes cheap values again, from what is kept", async (t) => {
  const g = prune(smallNetwork(2));
  const again = recompute(g);
  await sameNumbers(t, g, again);
  t.deepEqual(
    [...new Set(keptValues(again).map(({ op }) => opName(op)))].sort(),
    ["Add", "FusedMatMul"],
    "only residual sums and products are kept",
  );
  // Forward work is as it was; backward gains every norm once, and the scaled weight where dx needs it.
  const forward = (node: Node) => !node.backward;
  t.deepEqual(countOps(again, forward), countOps(g, forward));
  const [before, after] = [countOps(g, isBackward), countOps(again, isBackward)];
  const gained = Object.fromEntries(
    Object.entries(after).map(([op, count]) => [op, count - (before[op] ?? 0)]),
  );
  t.is(gained.RmsNorm, 3);
  t.is(gained.MatMul, 1, "B A of the second layer: the first layer's dx is not needed");
  t.is(gained.FusedMatMul, 0);
});

test("recompute makes a whole layer again from its input, once, and keeps nothing else of it", async (t) => {
  const g = prune(smallNetwork(3, { recomputeLayers: true }));
  const again = recompute(g);
  await sameNumbers(t, g, again);
  // Each layer's output belongs to it, and is the next one's input: only these may be kept.
  for (const { op, segment, scope } of keptValues(again)) {
    t.is(opName(op), "Add", `${scope} keeps a ${opName(op)}`);
    t.regex(segment ?? "", /^layer[012]$/);
  }
  const gained = (op: string) => (countOps(again)[op] ?? 0) - (countOps(g)[op] ?? 0);
  t.is(gained("Silu"), 0, "nobody reads the last value of a layer again");
  t.is(gained("FusedMatMul"), 3, "one product a layer");
  t.is(gained("RmsNorm"), 4, "each layer's, and the last norm");
  t.is(gained("MatMul"), 3);
});

test("recompute marks its copies as backward work that stands where it is first needed", (t) => {
  const again = recompute(prune(smallNetwork(2)));
  const norms = again.nodes.filter(({ op }) => opName(op) === "RmsNorm");
  t.deepEqual(
    norms.map(({ backward, scope, segment }) => [backward, scope, segment]),
    [
      [false, "layer0", "cheap"],
      [false, "layer1", "cheap"],
      [false, "", "cheap"],
      [true, "", undefined],
      [true, "layer1", undefined],
      [true, "layer0", undefined],
    ],
  );
});
