/** How a row becomes one text: everything before the target, then the target, nothing after it. */
export interface Template {
  /** What stands before the row's input. */
  readonly head: string;
  /** What stands between input and target. */
  readonly tail: string;
}

/**
 * The original's templates that are in use, by its numbers.
 *
 * 4 has two spaces before the end of its first line. Source: the HiRA authors' dataset/format_inputs.py.
 */
export const templates = {
  /** E2E, DailyDialog, SAMSum, ConvAI2, MetaMath. */
  0: { head: "CONTEXT: ", tail: " TARGET: " },
  1: { head: "", tail: " R: " },
  /** The LLM-Adapters sets. */
  4: {
    head:
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n" +
      "\n### Instruction:\n",
    tail: "\n\n### Response:\n",
  },
  /** MMLU. */
  7: { head: "", tail: "" },
} as const satisfies Readonly<Record<number, Template>>;

/** The text before the target: the template with the input in and the target empty. */
export const contextText = ({ head, tail }: Template, input: string): string =>
  `${head}${input}${tail}`;
