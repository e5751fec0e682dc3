import { refuse, type Op, type Value } from "../op.js";

/**
 * Per row, -log softmax(logits)[label], and the log-probabilities. logits [rows, vocab], labels int64 [rows].
 *
 * dLogits = dy * (softmax - onehot(label)), through the log-probabilities; these themselves take no gradient.
 * It is always lowered: ONNX Runtime has no kernel of it for inference, and what it puts in its place fails without rows.
 * Source: ONNX SoftmaxCrossEntropyLoss, opset 13, reduction "none".
 */
export const softmaxCrossEntropyLoss: Op<readonly [logits: Value, labels: Value]> = {
  opType: "SoftmaxCrossEntropyLoss",
  infer([logits, labels]) {
    if (
      logits.shape.length !== 2 ||
      labels.dtype !== "int64" ||
      labels.shape.join() !== String(logits.shape[0])
    )
      refuse(
        "SoftmaxCrossEntropyLoss",
        [logits, labels],
        "logits [rows, vocab] and int64 labels [rows]",
      );
    return [
      { dtype: logits.dtype, shape: labels.shape },
      { dtype: logits.dtype, shape: logits.shape },
    ];
  },
  attributes: () => ({ reduction: { string: "none" } }),
  gradient({ g, dy, inputs: [, labels], outputs }) {
    const rows = labels.shape[0] ?? 0;
    const dyColumn = g.reshape(dy, [rows, 1]);
    const probabilities = g.exp(outputs[1] as Value);
    return [
      g.scatterElements(
        g.mul(probabilities, dyColumn),
        g.reshape(labels, [rows, 1]),
        g.neg(dyColumn),
        {
          axis: 1,
          reduction: "add",
        },
      ),
      undefined,
    ];
  },
  lower(g, [logits, labels]) {
    const rows = labels.shape[0] ?? 0;
    const logProbs = g.logSoftmax(logits, { axis: -1 });
    const picked = g.gatherElements(logProbs, g.reshape(labels, [rows, 1]), { axis: 1 });
    return [g.reshape(g.neg(picked), [rows]), logProbs];
  },
};
