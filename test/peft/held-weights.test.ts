import test from "ava";
import { Graph } from "../../src/graph/graph.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { hilora } from "../../src/peft/hilora.js";
import { hira } from "../../src/peft/hira.js";

/** The segment of the node that makes the weight of a layer's product, in a model of `count` targets of 8192 x 8192 (256 MiB). */
const segmentOfWeight = (method: LinearMethod, count: number): string | undefined => {
  const g = new Graph();
  const [inFeatures, outFeatures] = [8192, 8192];
  const targets = Array.from({ length: count }, (_, i) => ({
    path: `layers.${String(i)}.up_proj`,
    inFeatures,
    outFeatures,
    bias: false,
  }));
  const adapter = createLinearAdapter(method, { rank: 2, additiveRank: 2 }, targets);
  const shapes = new Map(adapter.parameters.map(({ name, shape }) => [name, shape]));
  const weight = (name: string) => g.weight(name, "float32", [outFeatures, inFeatures]);
  const hooks = adapter.hooks(g, { weight, embed: (name) => weight(name) }, (name) =>
    g.input(name, "float32", shapes.get(name) ?? []),
  );
  const y = hooks.linear(g.input("x", "float32", ["rows", inFeatures]), targets[0]!);
  const made = y.producer?.inputs[1]?.producer;
  if (!made) throw new Error("Cannot find what makes the layer's weight");
  return made.segment;
};

for (const method of [hira, hilora])
  test(`weights up to 512 MiB in all stay for the backward pass, more are made again: ${method.name}`, (t) => {
    t.is(segmentOfWeight(method, 2), undefined);
    t.is(segmentOfWeight(method, 3), "cheap");
  });
