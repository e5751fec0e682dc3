import type { Compat } from "../core/compat.js";
import type { UnknownTokens } from "../core/unknown-tokens.js";
import type { BatchLayout } from "../datasets/build-batch.js";
import type { EncodedRow } from "../datasets/encoded-rows.js";
import type { TaskName } from "./tasks/task.js";

/** What the flags say of the rows that are learnt. */
export interface DataSettings {
  /** What is learnt of the rows. Default: tokens, or classes where the set has them. */
  readonly task?: TaskName | undefined;
  /** A name of the data set table, or a file of rows. */
  readonly dataset: string;
  readonly datasetFile: string | undefined;
  /** A file, or the share of the rows to hold out. */
  readonly validation: string | undefined;
  readonly dataDir: string | undefined;
  readonly datasetRatio: number;
  /** Whether a row's input stands in its prompt. */
  readonly useInput: boolean;
  readonly numWorkers: number;
  readonly maxNewTokens: number | undefined;
  /** Tokens in a block of running text; undefined: 512, or the model's positions. */
  readonly blockSize?: number | undefined;
  /** Where prompt and target stand in the rows of a file. */
  readonly promptField?: string | undefined;
  readonly targetField?: string | undefined;
  /** Of a file's rows: a name or a file; see openOwnTemplate. */
  readonly template?: string | undefined;
  /** Tokens of a row of a file, at most. */
  readonly maxLength?: number | undefined;
  /** How many training rows to show; see showRows. */
  readonly showRows?: number | undefined;
  readonly compat: Compat;
}

/** Rows ready for batches, and where they came from. */
export interface TrainingData {
  readonly train: readonly EncodedRow[];
  readonly validation: readonly EncodedRow[] | undefined;
  /** The names of the classes of the rows; undefined where tokens are learnt. */
  readonly labels?: readonly string[];
  readonly layout: BatchLayout;
  readonly padId: number;
  /** Evaluation takes max(1, floor(--batch / this)) rows at a time. */
  readonly evaluationBatchDivisor: number;
  /** What the rows of a file were taken for. */
  readonly remarks?: readonly string[];
  /** Lines of --show_rows. */
  readonly shown?: readonly string[];
  /** Whether a file's rows were encoded by the model's tokenizer. */
  readonly usesTokenizer?: boolean;
  /** What the person has to know: rows that are cut, and what is dropped of them. */
  readonly warnings: readonly string[];
  /** Likewise, where validation chooses among checkpoints: that its rows are the test's. */
  readonly choiceWarning: string | undefined;
  /** Tokens that the model has no embedding for; see requireKnownTokensOf. */
  readonly unknown: readonly UnknownTokens[];
  /** SHA-256 of every file read, by path. */
  readonly files: Readonly<Record<string, string>>;
  /** Columns of the longest batch that can come up. */
  readonly longest: number;
}
