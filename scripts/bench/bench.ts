/** A benchmark of `npm run bench`. */
export interface Bench {
  /** One line without a full stop. */
  readonly summary: string;
  /** Its flags, and what they mean where the name does not say it. */
  readonly usage: string;
  /** Measures and prints; `argv` are the words after the bench's name. */
  run(argv: readonly string[]): Promise<void>;
}
