import type { TypedArray } from "../../core/dtype.js";
import { memoized } from "../../core/memoized.js";
import { Graph } from "../graph.js";
import { opName, type Node, type Value } from "../op.js";

/** What a tensor of a cut graph is: an input or a weight of the whole graph by its name, a constant, or a value made by a part, by its id. */
export type PartSource =
  | { readonly kind: "input" | "weight"; readonly name: string }
  | { readonly kind: "constant"; readonly value: Value; readonly data: TypedArray }
  | { readonly kind: "made"; readonly id: number };

/** A stretch of a graph, to be run after those before it. */
export interface GraphPart {
  /** What it is of, for profiles and messages: "layer 3 backward". */
  readonly name: string;
  /** Which of the cut's graphs computes it. */
  readonly graph: number;
  /** Where each input of that graph comes from, by the graph's name of it. */
  readonly inputs: ReadonlyMap<string, PartSource>;
  /** Which value of the whole graph each output is, by the graph's name of it: its id. */
  readonly outputs: ReadonlyMap<string, number>;
}

/** A graph in parts that follow each other: of the same work on different layers there is one graph. */
export interface CutGraph {
  readonly graphs: readonly Graph[];
  readonly parts: readonly GraphPart[];
  /** The whole graph's outputs by name: their ids. */
  readonly outputs: ReadonlyMap<string, number>;
}

/**
 * The part of each node, from 0: what stands before the layers, each layer's forward pass, what stands behind them with its backward
 * pass, each layer's backward pass from the last one on, and what is left. What is made of weights and parameters alone, and what
 * somebody reads before its own turn, comes with its first reader.
 */
const assignParts = (graph: Graph, layers: number): ReadonlyMap<Node, number> => {
  const head = layers + 1;
  const last = head + layers + 1;
  const inputs = new Set([...graph.inputs.values()].map(({ id }) => id));
  const isFed = (value: Value): boolean => inputs.has(value.id) && !isSizedAlways(value);
  /** How far the parts are at least when a node runs; undefined where it hangs on no input of the run. */
  const reached = new Map<Node, number | undefined>();
  const wanted = new Map<Node, number>();
  for (const node of graph.nodes) {
    const { layer, backward } = node;
    const before = node.inputs.flatMap((value) => {
      const at = value.producer ? reached.get(value.producer) : isFed(value) ? 0 : undefined;
      return at === undefined ? [] : [at];
    });
    const reach = before.length > 0 ? Math.max(...before) : undefined;
    const place = ((): number => {
      if (layer !== undefined) return backward ? head + layers - layer : 1 + layer;
      if (reach === undefined) return Infinity;
      if (backward) return reach > head ? last : head;
      return reach > 0 ? head : 0;
    })();
    wanted.set(node, place);
    reached.set(node, place === Infinity ? reach : Math.max(place, reach ?? 0));
  }
  const parts = new Map<Node, number>();
  for (const node of graph.nodes.toReversed()) {
    const part = Math.min(wanted.get(node) ?? last, parts.get(node) ?? last);
    parts.set(node, part);
    for (const { producer } of node.inputs)
      if (producer) parts.set(producer, Math.min(part, parts.get(producer) ?? last));
  }
  return parts;
};

/** Whether a tensor has one shape in every run: parameters and their sums among the inputs. */
const isSizedAlways = ({ shape }: Value): boolean =>
  shape.length > 0 && shape.every((dim) => typeof dim === "number");

const partName = (part: number, layers: number): string => {
  if (part === 0) return "before the layers";
  if (part <= layers) return `layer ${part - 1}`;
  if (part === layers + 1) return "behind the layers";
  if (part <= 2 * layers + 1) return `layer ${2 * layers + 1 - part} backward`;
  return "before the layers backward";
};

/**
 * The nodes of each part. A reshaped value does not go from part to part beside the value itself: every part that reads it reshapes
 * anew, which moves nothing.
 */
const localViews = (
  graph: Graph,
  partOf: ReadonlyMap<Node, number>,
): ReadonlyMap<number, readonly Node[]> => {
  const members = new Map<number, Node[]>();
  const views = new Map<string, Value>();
  let nextId = -1;
  for (const node of graph.nodes) {
    const part = partOf.get(node) ?? 0;
    const nodes = members.get(part) ?? [];
    members.set(part, nodes);
    const local = (value: Value): Value => {
      const { producer } = value;
      const isView = producer?.op.opType === "Reshape" && partOf.get(producer) !== part;
      if (!isView) return value;
      return memoized(views, `${value.id} ${part}`, () => {
        const outputs: Value[] = [];
        const view: Node = { ...producer, inputs: producer.inputs.map(local), outputs };
        const made = { ...value, id: nextId--, producer: view };
        outputs.push(made);
        nodes.push(view);
        return made;
      });
    };
    nodes.push({ ...node, inputs: node.inputs.map(local) });
  }
  return members;
};

/** What a part reads and gives, in the order in which its nodes do. */
interface Outline {
  readonly nodes: readonly Node[];
  readonly reads: readonly Value[];
  readonly gives: readonly Value[];
  /** Two parts are of one graph if their keys are equal. */
  readonly key: string;
}

/** A part's key says its ops, their attributes, how its values hang together and their types, but no constant's elements. */
const outlineOf = (nodes: readonly Node[], isGiven: (value: Value) => boolean): Outline => {
  const numbers = new Map<number, number>();
  const reads: Value[] = [];
  const gives: Value[] = [];
  const lines: string[] = [];
  const typeOf = ({ dtype, shape }: Value): string => `${dtype}[${shape.join()}]`;
  for (const node of nodes) {
    const read = node.inputs.map((value) => {
      const known = numbers.get(value.id);
      if (known !== undefined) return String(known);
      numbers.set(value.id, numbers.size);
      reads.push(value);
      return `${numbers.size - 1}:${typeOf(value)}`;
    });
    const made = node.outputs.map((value) => {
      numbers.set(value.id, numbers.size);
      if (isGiven(value)) gives.push(value);
      return `${isGiven(value) ? "!" : ""}${typeOf(value)}`;
    });
    lines.push(`${opName(node.op)}${JSON.stringify(node.attrs)}(${read.join()})${made.join()}`);
  }
  return { nodes, reads, gives, key: lines.join("\n") };
};

const bytesOf = ({ buffer, byteOffset, byteLength }: TypedArray): Buffer =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);

/** A constant stays one in the graph of several parts if its elements are the same in all of them. */
const sharedConstant = (
  graph: Graph,
  outlines: readonly Outline[],
  place: number,
): TypedArray | undefined => {
  const all = outlines.map(({ reads }) => {
    const value = reads[place];
    return value && graph.constants.get(value.id)?.data;
  });
  const [first] = all;
  return first && all.every((data) => data && bytesOf(first).equals(bytesOf(data)))
    ? first
    : undefined;
};

/** The graph of parts with one key; its inputs are i0, i1, ..., its outputs o0, o1, ... */
const graphOf = (
  graph: Graph,
  outlines: readonly Outline[],
): { readonly graph: Graph; readonly inputPlaces: readonly number[] } => {
  const target = new Graph();
  const map = new Map<number, Value>();
  const [first] = outlines as [Outline];
  const inputPlaces: number[] = [];
  first.reads.forEach((value, place) => {
    const shared = sharedConstant(graph, outlines, place);
    const made = shared
      ? target.constant(value.dtype, value.shape as readonly number[], shared)
      : target.input(`i${place}`, value.dtype, value.shape);
    map.set(value.id, made);
    if (!shared) inputPlaces.push(place);
  });
  for (const node of first.nodes) {
    const inputs = node.inputs.map(({ id }) => map.get(id) as Value);
    target
      .copyNode(node, inputs)
      .forEach((value, i) => map.set((node.outputs[i] as Value).id, value));
  }
  first.gives.forEach((value, i) => {
    target.output(`o${i}`, map.get(value.id) as Value);
  });
  return { graph: target, inputPlaces };
};

/**
 * Cuts a graph with its backward pass into parts, layer by layer, that run one after the other and give each other what is read later.
 *
 * Parts that do the same work have one graph: weights, parameters and constants that differ are its inputs. The sessions of a model are
 * then few and small however many layers it has, and whoever runs them needs a layer's weights only while its parts run.
 */
export const cutByLayer = (graph: Graph): CutGraph => {
  const layers = 1 + Math.max(-1, ...graph.nodes.map(({ layer = -1 }) => layer));
  const partOf = assignParts(graph, layers);
  const members = localViews(graph, partOf);
  const crossing = new Set([...graph.outputs.values()].map(({ id }) => id));
  for (const [part, nodes] of members)
    for (const { inputs } of nodes)
      for (const { id, producer } of inputs)
        if (producer && (partOf.get(producer) ?? part) !== part) crossing.add(id);

  const numbers = [...members.keys()].sort((a, b) => a - b);
  const outlines = numbers.map((part) =>
    outlineOf(members.get(part) ?? [], ({ id }) => crossing.has(id)),
  );
  const kinds = new Map<string, Outline[]>();
  for (const outline of outlines)
    kinds.set(outline.key, [...(kinds.get(outline.key) ?? []), outline]);
  const keys = [...kinds.keys()];
  const made = [...kinds.values()].map((same) => graphOf(graph, same));

  const names = new Map<number, PartSource>();
  for (const [name, { id }] of graph.inputs) names.set(id, { kind: "input", name });
  for (const [name, { id }] of graph.weights) names.set(id, { kind: "weight", name });
  const sourceOf = ({ id }: Value): PartSource => {
    const constant = graph.constants.get(id);
    return names.get(id) ?? (constant ? { kind: "constant", ...constant } : { kind: "made", id });
  };
  const parts = outlines.map(({ key, reads, gives }, i): GraphPart => {
    const kind = keys.indexOf(key);
    return {
      name: partName(numbers[i] ?? 0, layers),
      graph: kind,
      inputs: new Map(
        made[kind]?.inputPlaces.flatMap((place) => {
          const value = reads[place];
          return value ? [[`i${place}`, sourceOf(value)]] : [];
        }),
      ),
      outputs: new Map(gives.map(({ id }, at) => [`o${at}`, id])),
    };
  });
  return {
    graphs: made.map(({ graph: each }) => each),
    parts,
    outputs: new Map([...graph.outputs].map(([name, { id }]) => [name, id])),
  };
};
