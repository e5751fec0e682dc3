import { addDims, multiplyDims, type Dim } from "../../core/dim.js";
import type { Graph } from "../graph.js";
import type { Node, Value } from "../op.js";
import { copied, rewrite } from "./rewrite.js";

const PREFIX = "sizes:";

/** The name of an input that holds these sizes, int64 [sizes]. */
const sizesName = (dims: readonly Dim[]): string => `${PREFIX}${dims.join(",")}`;

/** The sizes that an input of this name holds; undefined for all other inputs. */
export const sizesOfName = (name: string): readonly Dim[] | undefined =>
  name.startsWith(PREFIX)
    ? name
        .slice(PREFIX.length)
        .split(",")
        .map((dim) => (/^-?\d+$/.test(dim) ? Number(dim) : dim))
    : undefined;

/** The size that element `index` of an int64 input says, as a name. */
const elementName = (input: string, index: number): string => `${input}__${index}`;

/** The input and the place in it that a name of elementName's stands for; undefined for the name of a dimension. */
export const elementOfName = (
  name: string,
): { readonly input: string; readonly index: number } | undefined => {
  const [, input, index] = /^(.+)__(\d+)$/.exec(name) ?? [];
  return input === undefined ? undefined : { input, index: Number(index) };
};

/** What an op on sizes makes of them; undefined where it is no such op, or they are not known as expressions. */
const evaluate = (
  { op, inputs, outputs }: Node,
  sizesOf: (value: Value) => readonly Dim[] | undefined,
): readonly Dim[] | undefined => {
  const [first] = inputs;
  if (!first || outputs.length !== 1) return undefined;
  if (op.opType === "Shape") return first.shape;
  const known = inputs.flatMap((input) => {
    const sizes = sizesOf(input);
    return sizes ? [sizes] : [];
  });
  const [a = [], b = []] = known;
  if (known.length < inputs.length) return undefined;
  const pairwise = (of: (x: Dim, y: Dim) => Dim): readonly Dim[] | undefined => {
    const length = Math.max(a.length, b.length);
    if (![a, b].every((sizes) => sizes.length === length || sizes.length === 1)) return undefined;
    const at = (sizes: readonly Dim[], i: number): Dim => sizes[sizes.length === 1 ? 0 : i] ?? 0;
    return Array.from({ length }, (_, i) => of(at(a, i), at(b, i)));
  };
  switch (op.opType) {
    case "Gather":
      return b.every((i) => typeof i === "number") ? b.map((i) => a.at(i) ?? 0) : undefined;
    case "Concat":
      return known.flat();
    case "Mul":
      return pairwise(multiplyDims);
    case "Add":
      return pairwise(addDims);
    default:
      return undefined;
  }
};

/**
 * The graph in which sizes that are computed at run time are inputs: `sizes:batch*seq,64` is int64 [2], which whoever runs the
 * graph fills in from the shapes of its other inputs (sizesOfName), and
 * from the elements of int64 [n] ones, which are in host memory (elementOfName): splitAtRunTime's.
 *
 * For devices that would compute sizes in their own memory and bring them back, a wait each.
 */
export const sizesAsInputs = (graph: Graph): Graph => {
  const found = new Map<number, readonly Dim[]>();
  const sizesOf = (value: Value): readonly Dim[] | undefined => {
    const constant = graph.constants.get(value.id);
    if (!constant) return found.get(value.id);
    return value.dtype === "int64" && value.shape.length <= 1
      ? Array.from(constant.data, Number)
      : undefined;
  };
  const named = new Set([...graph.inputs.values()].flatMap(({ shape }) => shape));
  const lists = new Map<number, string>();
  for (const [name, { id, dtype, shape }] of graph.inputs)
    if (dtype === "int64" && shape.length === 1) lists.set(id, name);
  /** Single elements of an input. */
  const pick = ({ op, inputs: [list, places] }: Node): readonly Dim[] | undefined => {
    const name = list && lists.get(list.id);
    const indices = places && sizesOf(places);
    if (op.opType !== "Gather" || name === undefined || indices?.length !== 1) return undefined;
    const element = elementName(name, Number(indices[0]));
    named.add(element);
    return [element];
  };
  const isSize = (node: Node): boolean => node.outputs.some(({ id }) => found.has(id));
  const read = new Set([...graph.outputs.values()].map(({ id }) => id));
  for (const node of graph.nodes) {
    const [output] = node.outputs;
    const sizes = output?.dtype === "int64" ? (pick(node) ?? evaluate(node, sizesOf)) : undefined;
    const known = sizes?.every(
      (dim) => typeof dim === "number" || namesIn(dim).every((name) => named.has(name)),
    );
    if (output && sizes && known) found.set(output.id, sizes);
    else for (const { id } of node.inputs) read.add(id);
  }
  const inputs = new Map<string, Value>();
  return rewrite(graph, (node, lookup, target) => {
    if (!isSize(node)) return copied(node, lookup, target);
    return node.outputs.flatMap((output) => {
      const sizes = found.get(output.id) ?? [];
      if (!read.has(output.id)) return [];
      const name = sizesName(sizes);
      const flat = inputs.get(name) ?? target.input(name, "int64", [sizes.length]);
      inputs.set(name, flat);
      return [target.reshape(flat, output.shape)];
    });
  });
};

const namesIn = (dim: string): readonly string[] => dim.match(/[A-Za-z_]\w*/g) ?? [];
