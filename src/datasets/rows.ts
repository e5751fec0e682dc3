/** One example as its file has it: no template, no special tokens. */
export interface Row {
  readonly context: string;
  /** Where --use_input asks for it, and the row has one. */
  readonly input?: string;
  readonly target: string;
}

/** All of a row that is not its target: the context, and where it is used the input behind an empty line. */
export const questionOf = ({ context, input }: Row): string =>
  input === undefined ? context : `${context}\n\n${input}`;

/** The parts of a data set, in the order of use. */
export const splits = ["train", "validation", "test"] as const;
/** A part of a data set. */
export type Split = (typeof splits)[number];

/** What a file of rows held, before anything is encoded. */
export interface LoadedRows {
  readonly rows: readonly Row[];
  /** What the file has, such as dialogues, where it is not one a row: --dataset_ratio counts these. `ofRow` has one number a row. */
  readonly records?: { readonly count: number; readonly ofRow: readonly number[] };
  /** What the person has to know of the rows, in whole sentences without the file's name. */
  readonly remarks?: readonly string[];
  /** Numbers of the rows that have an input which is not used. */
  readonly droppedInputs: readonly number[];
  readonly path: string;
  /** SHA-256 of the file as stored, for run.json. */
  readonly sha256: string;
}
