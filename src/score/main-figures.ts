import type { Compat } from "../core/compat.js";
import { scorers, type ScorerName } from "./registry.js";
import type { Answer, ComputedFigure, Figure, FigureFacts } from "./scorer.js";

/** A figure that stands for a set's answers where there is room for few, such as the last lines of a run. */
export type MainFigure = FigureFacts & Pick<ComputedFigure, "value" | "interval">;

/** `samsum: rouge1 31.20 % (95 % interval 28.00 – 34.50), rougel ...; 819 rows` */
export const figuresInLine = (
  name: string,
  figures: readonly MainFigure[],
  rows: number,
): string => {
  const said = figures.map(
    ({ title, value, interval, isPlain }) =>
      `${title} ${value.toFixed(2)}${isPlain ? "" : " %"} (95 % interval ${interval.low.toFixed(2)} – ${interval.high.toFixed(2)})`,
  );
  return `${name}: ${said.join(", ")}; ${String(rows)} rows`;
};

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
