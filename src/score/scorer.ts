import type { Compat } from "../core/compat.js";
import type { EncodedText } from "../metrics/bert-score.js";
import type { WorkProgress } from "../report/progress.js";
import type { Interval } from "./intervals.js";

/** A decoded row, as a scorer reads it. */
export interface Answer {
  readonly context: string;
  readonly pred: string;
  readonly gt: string;
}

/**
 * What each item adds to a figure, so that intervals and tests can be reckoned from the items:
 *
 * - `share`: the item is right or not; the figure is their share
 * - `sums`: the item's terms are added up over the items, one sum a term, and `of` makes the figure of the sums
 * - `leftOut`: the figure over all items but this one, for figures that no sum gives
 *
 * Figures are in percent, but for those that say otherwise.
 */
export type Sample =
  | { readonly kind: "share"; readonly right: readonly boolean[] }
  | {
      readonly kind: "sums";
      /** Terms of all items, item by item: [items x width]. */
      readonly terms: Float64Array;
      readonly width: number;
      readonly of: (sums: Float64Array) => number;
    }
  | { readonly kind: "leftOut"; readonly values: Float64Array };

/** A number of a score. */
export type Figure = FigureFacts & (ComputedFigure | MissingFigure);

/** What a figure is called, and what kind of number it is. */
export interface FigureFacts {
  /** As the original's CSV names it. */
  readonly key: string;
  /** As the table names it. */
  readonly title: string;
  /** A number of its own scale, such as NIST; without it, a figure is in percent. */
  readonly isPlain?: true;
}

/** A figure of a set, its 95 % interval, and what paired tests resample. */
export interface ComputedFigure {
  readonly value: number;
  readonly interval: Interval;
  readonly sample: Sample;
}

interface MissingFigure {
  readonly value: undefined;
  /** Why there is no number, in a few words. */
  readonly missing: string;
}

/** A part of the rows with its own share of right ones, such as a subject of MMLU. */
export interface ScoredGroup {
  readonly name: string;
  readonly rows: number;
  readonly right: number;
  readonly accuracy: number;
  readonly interval: Interval;
}

/** What a scorer says of a file's rows. */
export interface Scored {
  readonly rows: number;
  /** What the figures are over: rows, or contexts of which each may have several references. */
  readonly items: number;
  readonly figures: readonly Figure[];
  /** Numbers of rows that a reader has to know beside the figures, by their names: `no number: 3`. */
  readonly counts: Readonly<Record<string, number>>;
  /** Subjects and the like; none in most sets. */
  readonly groups: readonly ScoredGroup[];
  /** Whole sentences about how the figures came about. */
  readonly remarks: readonly string[];
}

/** What BERTScore compares texts by. */
export interface TextEncoder {
  /** Which encoder, and which of its layers, for people. */
  readonly description: string;
  /** Texts as vectors, in their order. */
  readonly encode: (texts: readonly string[]) => Promise<readonly EncodedText[]>;
  /** Shows how many of so many pairs are done. */
  readonly progress: (pairs: number) => WorkProgress;
}

/** What a scorer may read beside the rows. */
export interface ScorerOptions {
  readonly compat: Compat;
  /** The set that the rows answer, if it is known. */
  readonly set: string | undefined;
  /** --data_dir: where the sets lie, for true answers that are not in the rows. */
  readonly dataDir?: string | undefined;
  /** --wordnet */
  readonly wordnet?: string | undefined;
  /** --bert_model */
  readonly encoder?: TextEncoder | undefined;
  /** Whether figures that take long and are no main ones may be left out. */
  readonly onlyMain?: boolean;
}

/** One way of scoring, for the sets that it suits. */
export interface Scorer {
  /** One line for people: what is compared, and the figures. */
  readonly summary: string;
  /** The keys of the figures that stand for a set where there is room for few. */
  readonly main: readonly string[];
  /** The columns of the CSV between folder_name and config, in the original's order where it has such a table. */
  readonly columns: readonly string[];
  /** The original's own name of that table; without it `results_{set}.csv`. */
  readonly table?: string;
  readonly score: (answers: readonly Answer[], options: ScorerOptions) => Promise<Scored>;
}
