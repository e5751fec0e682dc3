/** One example as its file has it: no template, no special tokens. */
export interface Row {
  readonly context: string;
  readonly target: string;
}

export const splits = ["train", "validation", "test"] as const;
export type Split = (typeof splits)[number];

/** What a file of rows held, before anything is encoded. */
export interface LoadedRows {
  readonly rows: readonly Row[];
  readonly path: string;
  /** SHA-256 of the file as stored, for run.json. */
  readonly sha256: string;
}
