import type { ClassifierHead, LinearModule } from "../model.js";

/**
 * The classifier of decoders: one layer `score` without a bias, on the last real token's hidden state.
 *
 * Source: GenericForSequenceClassification of transformers 5.24.
 * @param width of the hidden states that the trunk gives
 */
export const scoreHead = (architecture: string, width: number): ClassifierHead => {
  const linears = (labels: number): readonly [LinearModule] => [
    { path: "score", inFeatures: width, outFeatures: labels, bias: false },
  ];
  return {
    architecture,
    pools: "last",
    dropout: 0,
    linears,
    logits(g, hidden, labels, hooks) {
      const [score] = linears(labels);
      return g.inScope(score.path, () => hooks.linear(hidden, score));
    },
  };
};
