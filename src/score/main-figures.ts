import type { Compat } from "../core/compat.js";
import { scorers, type ScorerName } from "./registry.js";
import type { Answer, ComputedFigure, Figure, FigureFacts } from "./scorer.js";

/** A figure that stands for a set's answers where there is room for few, such as the last lines of a run. */
export type MainFigure = FigureFacts & Pick<ComputedFigure, "value" | "interval">;

/** The main figures of a scorer among all of its figures, as far as they are computed. */
const mainAmong = (scorer: ScorerName, figures: readonly Figure[]): readonly MainFigure[] =>
  figures.flatMap((figure): MainFigure[] =>
    figure.value !== undefined && scorers[scorer].main.includes(figure.key) ? [figure] : [],
  );

/**
 * The main figures of answers, without the ones that take long (METEOR, CIDEr, NIST, BERTScore).
 *
 * @throws {UserError} as the scorer
 */
export const mainFiguresOf = async (
  scorer: ScorerName,
  answers: readonly Answer[],
  options: {
    readonly set: string | undefined;
    readonly compat: Compat;
    readonly dataDir?: string | undefined;
  },
): Promise<readonly MainFigure[]> => {
  const { figures } = await scorers[scorer].score(answers, { ...options, onlyMain: true });
  return mainAmong(scorer, figures);
};
