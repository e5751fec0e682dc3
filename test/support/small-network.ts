import { backward } from "../../src/graph/backward.js";
import { Graph } from "../../src/graph/graph.js";
import { randomStream } from "../../src/core/random.js";
import type { Tensor } from "../../src/runtime/tensor.js";
import { float32 } from "./run-graph.js";

const WIDTH = 6;
const RANK = 2;

/**
 * Layers x + silu(norm(x) W^T) with W = W0 * (1 + B A), a last norm, and the gradients of every A and B, as backward made them: no pass
 * has run. Norm and W are cheap; with `recomputeLayers` each layer is a recomputable part as a whole.
 */
export const smallNetwork = (layers: number, { recomputeLayers = false } = {}): Graph => {
  const g = new Graph();
  const gain = g.weight("gain", "float32", [WIDTH]);
  const factors = Array.from({ length: layers }, (_, i) => ({
    A: g.input(`A${i}`, "float32", [RANK, WIDTH]),
    B: g.input(`B${i}`, "float32", [WIDTH, RANK]),
  }));
  let x = g.input("x", "float32", ["rows", WIDTH]);
  factors.forEach(({ A, B }, i) => {
    const layer = () =>
      g.inScope(`layer${i}`, () => {
        const normed = g.cheap(() => g.rmsNorm(x, gain, { epsilon: 1e-5 }));
        const weight = g.weight(`W${i}`, "float32", [WIDTH, WIDTH]);
        const scaled = g.cheap(() => g.mul(weight, g.add(g.matmul(B, A), g.scalar(1, "float32"))));
        return g.add(x, g.silu(g.linear(normed, scaled)));
      });
    x = g.inLayer(i, () => (recomputeLayers ? g.recomputable(`layer${i}`, layer) : layer()));
  });
  x = g.cheap(() => g.rmsNorm(x, gain, { epsilon: 1e-5 }));
  const loss = g.reduceSum(g.mul(x, x), { axes: [0, 1] });
  g.output("loss", loss);
  const trainable = factors.flatMap(({ A, B }) => [A, B]);
  const gradients = backward(g, loss, trainable);
  gradients.forEach((gradient, i) => g.output(`d${"AB"[i % 2]}${i >> 1}`, gradient));
  return g;
};

/** Tensors for every input and weight of a small network. */
export const smallNetworkFeeds = (graph: Graph, rows = 3): Readonly<Record<string, Tensor>> => {
  const stream = randomStream(1, "small-network");
  return Object.fromEntries(
    [...graph.inputs, ...graph.weights].map(([name, { shape }]) => {
      const sizes = shape.map((dim) => (typeof dim === "number" ? dim : rows));
      const length = sizes.reduce((n, size) => n * size, 1);
      return [
        name,
        float32(
          sizes,
          Array.from({ length }, () => stream.normal()),
        ),
      ];
    }),
  );
};
