import { wilsonInterval } from "./intervals.js";
import type { ComputedFigure, FigureFacts, ScoredGroup } from "./scorer.js";

const countRight = (right: readonly boolean[]): number => right.filter(Boolean).length;

/** The share of right items, in percent, with Wilson's interval. */
export const shareFigure = (
  key: string,
  title: string,
  right: readonly boolean[],
): FigureFacts & ComputedFigure => {
  const count = countRight(right);
  return {
    key,
    title,
    value: (100 * count) / right.length,
    interval: wilsonInterval(count, right.length),
    sample: { kind: "share", right },
  };
};

/** The shares of right items by the name of their group, in the order in which the groups first come. */
export const shareByGroup = (
  right: readonly boolean[],
  groupOf: (item: number) => string,
): readonly ScoredGroup[] => {
  const groups = new Map<string, boolean[]>();
  for (const [i, isRight] of right.entries()) {
    const name = groupOf(i);
    const group = groups.get(name);
    if (group) group.push(isRight);
    else groups.set(name, [isRight]);
  }
  return [...groups].map(([name, rights]) => {
    const count = countRight(rights);
    return {
      name,
      rows: rights.length,
      right: count,
      accuracy: (100 * count) / rights.length,
      interval: wilsonInterval(count, rights.length),
    };
  });
};
