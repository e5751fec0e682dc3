import { refuse, type Op, type Value } from "../op.js";

/**
 * Per row, -log softmax(logits)[label], and the log-probabilities. logits [rows, vocab], labels int64 [rows].
 *
 * dLogits = dy * (softmax - onehot(label)), through the log-probabilities; these themselves take no gradient.
 * ONNX Runtime has no kernel of it for inference, and what it puts in its place fails without rows.
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
  gradient({ g, dy, inputs: [, labels], outputs: [loss, logProbs] }) {
    const rows = labels.shape[0] ?? 0;
    const dyColumn = g.reshape(dy, [rows, 1]);
    // softmax[label] is made from the loss, so that the loss is taken before the gradient: the log-probabilities, as large
    // as the logits, then need not wait for it.
    const atLabel = g.sub(g.exp(g.neg(loss as Value)), g.scalar(1, dy.dtype));
    return [
      g.scatterElements(
        g.mul(g.exp(logProbs as Value), dyColumn),
        g.reshape(labels, [rows, 1]),
        g.mul(g.reshape(atLabel, [rows, 1]), dyColumn),
        { axis: 1, reduction: "none" },
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
