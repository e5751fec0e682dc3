import { add } from "./add.js";
import { bitShift } from "./bit-shift.js";
import { bitwiseAnd } from "./bitwise-and.js";
import { bitwiseOr } from "./bitwise-or.js";
import { cast } from "./cast.js";
import { concat } from "./concat.js";
import { detach } from "./detach.js";
import { div } from "./div.js";
import { erf } from "./erf.js";
import { exp } from "./exp.js";
import { expand } from "./expand.js";
import { gatherElements } from "./gather-elements.js";
import { gather } from "./gather.js";
import { identity } from "./identity.js";
import { layerNormalization } from "./layer-normalization.js";
import { lessOrEqual } from "./less-or-equal.js";
import { log } from "./log.js";
import { logSoftmax } from "./log-softmax.js";
import { matMul, fusedMatMul } from "./matmul.js";
import { mul } from "./mul.js";
import { neg } from "./neg.js";
import { pad } from "./pad.js";
import { reciprocal } from "./reciprocal.js";
import { reduceMax } from "./reduce-max.js";
import { reduceMean } from "./reduce-mean.js";
import { reduceSum } from "./reduce-sum.js";
import { relu } from "./relu.js";
import { reshape } from "./reshape.js";
import { rmsNorm } from "./rms-norm.js";
import { rotaryEmbedding } from "./rotary-embedding.js";
import { scatterElements } from "./scatter-elements.js";
import { scatterND } from "./scatter-nd.js";
import { shape } from "./shape.js";
import { sigmoid } from "./sigmoid.js";
import { silu } from "./silu.js";
import { slice } from "./slice.js";
import { softmaxCrossEntropyLoss } from "./softmax-cross-entropy-loss.js";
import { softmax } from "./softmax.js";
import { split } from "./split.js";
import { sqrt } from "./sqrt.js";
import { sub } from "./sub.js";
import { tanh } from "./tanh.js";
import { topK } from "./top-k.js";
import { transpose } from "./transpose.js";
import { where } from "./where.js";

/** Every op of the intermediate representation, by its name there. */
export const ops = {
  Add: add,
  BitShift: bitShift,
  BitwiseAnd: bitwiseAnd,
  BitwiseOr: bitwiseOr,
  Cast: cast,
  Concat: concat,
  Detach: detach,
  Div: div,
  Erf: erf,
  Exp: exp,
  Expand: expand,
  GatherElements: gatherElements,
  Gather: gather,
  Identity: identity,
  LayerNormalization: layerNormalization,
  LessOrEqual: lessOrEqual,
  Log: log,
  LogSoftmax: logSoftmax,
  MatMul: matMul,
  FusedMatMul: fusedMatMul,
  Mul: mul,
  Neg: neg,
  Pad: pad,
  Reciprocal: reciprocal,
  ReduceMax: reduceMax,
  ReduceMean: reduceMean,
  ReduceSum: reduceSum,
  Relu: relu,
  Reshape: reshape,
  RmsNorm: rmsNorm,
  RotaryEmbedding: rotaryEmbedding,
  ScatterElements: scatterElements,
  ScatterND: scatterND,
  Shape: shape,
  Sigmoid: sigmoid,
  Silu: silu,
  Slice: slice,
  SoftmaxCrossEntropyLoss: softmaxCrossEntropyLoss,
  Softmax: softmax,
  Split: split,
  Sqrt: sqrt,
  Sub: sub,
  Tanh: tanh,
  TopK: topK,
  Transpose: transpose,
  Where: where,
} as const;

export type OpName = keyof typeof ops;
