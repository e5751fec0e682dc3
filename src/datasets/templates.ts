/** How a row becomes one text: everything before the target, then the target, nothing after it. */
export interface Template {
  /** What stands before the row's instruction. */
  readonly head: string;
  /** What stands between instruction, or input, and target. */
  readonly tail: string;
  /** For rows whose input is used: what stands before the instruction, and between it and the input. */
  readonly withInput?: { readonly head: string; readonly between: string };
  /**
   * For contexts that are cut behind what this gives of them, and so keep their end; without it a context loses the end of its instruction, and
   * the template's tail stays.
   */
  readonly leadOf?: (instruction: string) => string;
  /** Whether train_hira.py makes one text of a training row, which its table's length cuts as a whole: compat "tokens" does. */
  readonly inOnePiece?: boolean;
}

/**
 * The original's templates that are in use, by its numbers.
 *
 * 4 has two spaces before the end of its first line. Source: the HiRA authors' dataset/format_inputs.py. They drop a row's input;
 * the text for rows with one is "prompt_input" of templates/alpaca.json in tloen/alpaca-lora, from which template 4 descends.
 */
export const templates = {
  /** E2E, DailyDialog, SAMSum, ConvAI2, MetaMath. */
  0: { head: "CONTEXT: ", tail: " TARGET: ", inOnePiece: true },
  1: { head: "", tail: " R: ", inOnePiece: true },
  /** The LLM-Adapters sets. */
  4: {
    head:
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n" +
      "\n### Instruction:\n",
    tail: "\n\n### Response:\n",
    withInput: {
      head:
        "Below is an instruction that describes a task, paired with an input that provides further context. " +
        "Write a response that appropriately completes the request.\n\n### Instruction:\n",
      between: "\n\n### Input:\n",
    },
  },
  /** MMLU. */
  7: {
    head: "",
    tail: "",
    // The choices and `Answer:` stand at the end, and the subject at the front.
    leadOf: (instruction) =>
      /^The following are multiple choice questions[^\n]*\n\n/.exec(instruction)?.[0] ?? "",
    inOnePiece: true,
  },
} as const satisfies Readonly<Record<number, Template>>;

/** The text before the target: the template with instruction and, where it is used, input in, and the target empty. */
export const contextText = (
  { head, tail, withInput }: Template,
  instruction: string,
  input?: string,
): string => {
  if (input === undefined) return `${head}${instruction}${tail}`;
  if (!withInput)
    throw new RangeError("Cannot use a row's input: the template has no place for it");
  return `${withInput.head}${instruction}${withInput.between}${input}${tail}`;
};
