import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { uniform } from "./init.js";
import type { ParameterSpec, ParameterValues } from "./method.js";

/** The sizes of a bidirectional LSTM, whose result is twice as wide as `hidden`. */
export interface LstmSize {
  readonly inputs: number;
  readonly hidden: number;
  readonly layers: number;
}

const directions = ["", "_reverse"] as const;

/**
 * The parameters of a bidirectional LSTM by torch's names, all uniform in +-1/sqrt(hidden): of layer k
 * `<name>.weight_ih_l<k>` [4 hidden, inputs, or 2 hidden above layer 0], `.weight_hh_l<k>` [4 hidden, hidden],
 * `.bias_ih_l<k>` and `.bias_hh_l<k>` [4 hidden], and the same with `_reverse`. The four gates are input, forget, cell, output.
 *
 * Source: torch.nn.LSTM.
 */
export const lstmParameters = (
  name: string,
  { inputs, hidden, layers }: LstmSize,
): Readonly<Record<string, ParameterSpec>> => {
  const bound = 1 / Math.sqrt(hidden);
  const spec = (...shape: number[]): ParameterSpec => ({
    shape,
    init: uniform(-bound, bound),
    trainable: true,
  });
  const entries: [string, ParameterSpec][] = [];
  for (let layer = 0; layer < layers; layer++)
    for (const direction of directions) {
      const end = `l${String(layer)}${direction}`;
      entries.push(
        [`${name}.weight_ih_${end}`, spec(4 * hidden, layer === 0 ? inputs : 2 * hidden)],
        [`${name}.weight_hh_${end}`, spec(4 * hidden, hidden)],
        [`${name}.bias_ih_${end}`, spec(4 * hidden)],
        [`${name}.bias_hh_${end}`, spec(4 * hidden)],
      );
    }
  return Object.fromEntries(entries);
};

/** The parameters of one layer in one direction. */
interface Cell {
  readonly inputWeight: Value;
  readonly hiddenWeight: Value;
  readonly bias: Value;
}

const cellOf = (g: Graph, parameters: ParameterValues, name: string, end: string): Cell => {
  const find = (kind: string): Value => {
    const value = parameters[`${name}.${kind}_${end}`];
    if (!value) throw new RangeError(`Cannot build an LSTM: found no ${name}.${kind}_${end}`);
    return value;
  };
  return {
    inputWeight: find("weight_ih"),
    hiddenWeight: find("weight_hh"),
    bias: g.add(find("bias_ih"), find("bias_hh")),
  };
};

/** h_t [1, hidden] of every step in the order of `x`, walked through in that order or from the end. */
const runCell = (
  g: Graph,
  x: Value,
  { inputWeight, hiddenWeight, bias }: Cell,
  backwards: boolean,
): readonly Value[] => {
  const [steps, hidden] = [x.shape[0] as number, hiddenWeight.shape[1] as number];
  const own = g.linear(x, inputWeight, bias); // [steps, 4 hidden]
  const ofSteps = g.split(own, Array<number>(steps).fill(1), 0);
  let h = g.zeros("float32", [1, hidden]);
  let c = h;
  const step = (fromInput: Value): Value => {
    const gates = g.add(fromInput, g.matmul(h, hiddenWeight, { transB: true }));
    const [i, f, cell, o] = g.split(gates, Array<number>(4).fill(hidden), 1) as [
      Value,
      Value,
      Value,
      Value,
    ];
    c = g.add(g.mul(g.sigmoid(f), c), g.mul(g.sigmoid(i), g.tanh(cell)));
    h = g.mul(g.sigmoid(o), g.tanh(c));
    return h;
  };
  return backwards ? ofSteps.toReversed().map(step).toReversed() : ofSteps.map(step);
};

/**
 * A bidirectional LSTM over x [steps, inputs], started from zeros: [steps, 2 hidden], forward states in front.
 *
 * c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g), h_t = sigmoid(o) tanh(c_t), with (i, f, g, o) = W_ih x_t + b_ih + W_hh h_{t-1} +
 * b_hh. The steps are laid out one after another: ONNX's LSTM has no gradient here, and virtual tokens are few.
 * Source: Hochreiter and Schmidhuber, "Long Short-Term Memory"; torch.nn.LSTM.
 */
export const lstm = (
  g: Graph,
  x: Value,
  parameters: ParameterValues,
  { name, layers }: { readonly name: string; readonly layers: number },
): Value => {
  let states = x;
  for (let layer = 0; layer < layers; layer++) {
    const input = states;
    const both = directions.map((direction) => {
      const cell = cellOf(g, parameters, name, `l${String(layer)}${direction}`);
      return g.concat(runCell(g, input, cell, direction !== ""), 0);
    });
    states = g.concat(both, 1);
  }
  return states;
};
