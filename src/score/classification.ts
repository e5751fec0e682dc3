import { classificationScore, type ClassificationScore } from "../metrics/classification.js";
import { stripSpace } from "../metrics/python-text.js";
import { jackknifeInterval } from "./resample.js";
import type { ClassFigureName, Classified } from "../train/class-figures.js";
import type { Interval } from "./intervals.js";
import type { ComputedFigure, Figure, FigureFacts, Scorer } from "./scorer.js";
import { shareFigure } from "./share.js";

/** A figure of a classifier over all rows, with what it were without each of them. */
const labelFigure = (
  key: string,
  predicted: readonly string[],
  truth: readonly string[],
  of: (score: ClassificationScore) => number,
): ComputedFigure & FigureFacts => {
  const value = 100 * of(classificationScore(predicted, truth));
  // Leaving a row out changes a figure by the row's labels alone, so that each pair of them is reckoned once.
  const known = new Map<string, number>();
  const without = Float64Array.from(truth, (label, i) => {
    if (truth.length === 1) return value;
    const pair = JSON.stringify([predicted[i], label]);
    const other = (labels: readonly string[]): readonly string[] => labels.toSpliced(i, 1);
    const found = known.get(pair) ?? 100 * of(classificationScore(other(predicted), other(truth)));
    known.set(pair, found);
    return found;
  });
  const low = key === "mcc" ? -100 : 0;
  return {
    ...{ key, title: key, value },
    interval: jackknifeInterval(value, without, low),
    sample: { kind: "leftOut", values: without },
  };
};

/**
 * 95 % intervals of the figures of a classifier, as shares: Wilson's of the accuracy, the jackknife's of the others.
 *
 * @param classified what was said of each row, and what is true
 */
export const classIntervals = ({
  predicted,
  truth,
  classes,
}: Classified): Readonly<Record<ClassFigureName, Interval>> => {
  const [said, right] = [predicted.map(String), truth.map(String)];
  const shares = ({ interval }: Pick<ComputedFigure, "interval">): Interval => ({
    low: interval.low / 100,
    high: interval.high / 100,
  });
  const figure = (key: string, of: (score: ClassificationScore) => number): Interval =>
    shares(labelFigure(key, said, right, of));
  const macro = figure("f1_macro", ({ macroF1 }) => macroF1);
  return {
    accuracy: shares(
      shareFigure(
        "acc",
        "accuracy",
        right.map((label, i) => label === said[i]),
      ),
    ),
    f1: classes === 2 ? figure("f1", ({ perLabel }) => perLabel.get("1")?.f1 ?? 0) : macro,
    f1_macro: macro,
    mcc: figure("mcc", ({ matthews }) => matthews),
  };
};

/** Labels: any text is one, without the white space around it. */
export const classification: Scorer = {
  summary: "pred as a label against gt: accuracy, F1 (macro and weighted), Matthews' correlation",
  main: ["acc", "f1_macro"],
  columns: ["acc", "f1_macro", "f1_weighted", "mcc"],
  async score(answers) {
    const predicted = answers.map(({ pred }) => stripSpace(pred));
    const truth = answers.map(({ gt }) => stripSpace(gt));
    const known = new Set(truth);
    const figure = (key: string, of: (score: ClassificationScore) => number): Figure =>
      labelFigure(key, predicted, truth, of);
    return {
      rows: answers.length,
      items: answers.length,
      figures: [
        shareFigure(
          "acc",
          "accuracy",
          truth.map((label, i) => label === predicted[i]),
        ),
        figure("f1_macro", ({ macroF1 }) => macroF1),
        figure("f1_weighted", ({ weightedF1 }) => weightedF1),
        figure("mcc", ({ matthews }) => matthews),
      ],
      counts: {
        "a label that is never true": predicted.filter((label) => !known.has(label)).length,
      },
      groups: [],
      remarks: [],
    };
  },
};
