import { Graph } from "../graph/graph.js";
import { cpuPlan, openGraph } from "../runtime/compute-plan.js";
import type { Tensor } from "../runtime/tensor.js";
import type { Adapter } from "./adapter.js";

/**
 * What an adapter's files hold: its parameters by name, or, where an encoder makes virtual tokens, what it makes of them.
 *
 * @param values the adapter's parameters by name
 */
export const bakeVirtualTokens = async (
  { virtual, parameters }: Pick<Adapter, "virtual" | "parameters">,
  values: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> => {
  if (!virtual || virtual.baked || values.has(virtual.result)) return values;
  const g = new Graph();
  const inputs = new Map(
    parameters.map(({ name, shape }) => [name, g.input(name, "float32", shape)]),
  );
  const rows = virtual.rows(g, (name) => {
    const input = inputs.get(name);
    if (!input) throw new RangeError(`Cannot find the parameter "${name}"`);
    return input;
  });
  g.output(virtual.result, rows);
  const session = await openGraph(cpuPlan(), g);
  try {
    const made = await session.run(Object.fromEntries(values));
    return new Map(Object.entries(made));
  } finally {
    session.dispose();
  }
};
