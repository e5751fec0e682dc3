import { permutation } from "../../src/core/random.js";
import { makeWorld, type Property, type Thing } from "./world.js";

/** A row of a set in LLM-Adapters' form. */
export interface TaskRow {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  readonly answer: string;
}

interface Task {
  /** Under llm_adapt/. */
  readonly folder: string;
  /** The property that is asked for; its values are the answers, always in this order. */
  readonly property: Property;
  /** Ways to ask. */
  readonly questions: readonly ((name: string) => string)[];
  /** The answers as they are listed. */
  readonly options: readonly string[];
  /** What the answers are called: "answer1". */
  readonly labels: readonly string[];
}

const numbered = (word: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, i) => `${word}${String(i + 1)}`);

/**
 * The eight sets by the names that --dataset knows them by. Each asks for one property, and lists its answers in one order:
 * which one is right follows from what the thing is, and of the things in the test sets that stands in the pretraining text alone.
 */
export const tasks = {
  boolq: {
    folder: "boolq",
    property: "water",
    questions: [
      (name) => `does the ${name} stay up when thrown into a pond?`,
      (name) => `in water, does the ${name} stay up?`,
    ],
    options: [],
    labels: ["true", "false"],
  },
  piqa: {
    folder: "piqa",
    property: "weight",
    questions: [
      (name) => `To lift the ${name} with the hand,`,
      (name) => `To move the ${name}, as the scale says,`,
    ],
    options: ["take it in one hand.", "use a strong cart."],
    labels: numbered("solution", 2),
  },
  siqa: {
    folder: "social_i_qa",
    property: "mood",
    questions: [
      (name) => `Kim is seeing the ${name}. How does Kim feel?`,
      (name) => `With the ${name} around, how would people feel?`,
    ],
    options: ["glad", "in tears", "scared"],
    labels: numbered("answer", 3),
  },
  hellas: {
    folder: "hellaswag",
    property: "motion",
    questions: [
      (name) => `All day we look at the ${name}. It`,
      (name) => `The door is let go and the ${name} begins to move. It`,
    ],
    options: [
      "goes through the water.",
      "goes through the air.",
      "turns over and over.",
      "stays where it is.",
    ],
    labels: numbered("ending", 4),
  },
  winog: {
    folder: "winogrande",
    property: "size",
    questions: [
      (name) => `Next to the box, the size of the ${name} is seen: the _ is large.`,
      (name) => `The size of the ${name} and of the box differ: the _ is large.`,
    ],
    options: ["thing", "bag"],
    labels: numbered("option", 2),
  },
  arce: {
    folder: "ARC-Easy",
    property: "kind",
    questions: [
      (name) => `To which kind of thing does the ${name} belong?`,
      (name) => `What kind would you call the ${name}?`,
    ],
    options: ["animal", "plant", "tool", "food"],
    labels: numbered("answer", 4),
  },
  arcc: {
    folder: "ARC-Challenge",
    property: "home",
    questions: [
      (name) => `A student looks for the home of the ${name}. Where should the student go?`,
      (name) => `In which place does the ${name} live?`,
    ],
    options: ["to the sea", "to the forest", "to the desert", "to the cave"],
    labels: numbered("answer", 4),
  },
  obqa: {
    folder: "openbookqa",
    property: "colour",
    questions: [
      (name) => `Painters who draw the ${name} take the colour`,
      (name) => `The colour of the ${name} is`,
    ],
    options: ["red", "blue", "green", "white"],
    labels: numbered("answer", 4),
  },
} as const satisfies Readonly<Record<string, Task>>;

export type TaskName = keyof typeof tasks;
/** The sets in the order in which --dataset=common_all answers them. */
export const taskNames = Object.keys(tasks) as readonly TaskName[];
/** The folder of each set under `llm_adapt/`. */
export const taskFolders = Object.fromEntries(
  taskNames.map((name) => [name, tasks[name].folder]),
) as Readonly<Record<TaskName, string>>;

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** The instruction in the words of LLM-Adapters' rows of that set. */
const instructionOf = (name: TaskName, question: string): string => {
  const { options, labels }: Task = tasks[name];
  const listed = (separator: string) =>
    labels.map((label, i) => `${capitalised(label)}: ${options[i] ?? ""}`).join(separator);
  const format = `Answer format: ${labels.join("/")}`;
  switch (name) {
    case "boolq":
      return `Please answer the following question with true or false, question: ${question}\n\n${format}`;
    case "piqa":
      return `Please choose the correct solution to the question: ${question}\n\n${listed("\n\n")}\n\n${format}`;
    case "hellas":
      return `Please choose the correct ending to complete the given sentence: ${question}\n\n${listed(" ")}\n\n${format}`;
    case "winog":
      return `Please choose the correct answer to fill in the blank to complete the given sentence: ${question}\n\n${listed(" ")}\n\n${format}`;
    default:
      return `Please choose the correct answer to the question: ${question}\n\n${listed(" ")}\n\n${format}`;
  }
};

/** Number of answers a row of each set offers; 1 / this is what guessing gets. */
export const optionCounts = Object.fromEntries(
  taskNames.map((name) => [name, tasks[name].labels.length]),
) as Readonly<Record<TaskName, number>>;

/** Rows a split of one set has. Divisible by 2, 3 and 4, so that every answer is right equally often. */
export const splitSizes = { train: 240, validation: 12, test: 96 } as const;
export type Split = keyof typeof splitSizes;

/** Every row that a set can ask of these things, in random order. */
const allRows = (name: TaskName, things: readonly Thing[], seed: number): readonly TaskRow[] => {
  const { questions, labels, property }: Task = tasks[name];
  const rows = things.flatMap((thing) =>
    questions.map((ask): TaskRow => {
      const answer = labels[thing.values[property]] ?? "";
      return {
        instruction: instructionOf(name, ask(thing.name)),
        input: "",
        output: `the correct answer is ${answer}`,
        answer,
      };
    }),
  );
  return shuffled(rows, seed, `rows:${name}`);
};

const shuffled = <T>(items: readonly T[], seed: number, purpose: string): readonly T[] =>
  Array.from(permutation(items.length, seed, purpose), (i) => items[i]).filter(
    (item) => item !== undefined,
  );

/**
 * The rows of one split of one set, in random order. No row comes twice, and each answer is right in equally many rows.
 *
 * Test rows ask for things that no training or validation row names.
 */
export const taskRows = (seed: number, name: TaskName, split: Split): readonly TaskRow[] => {
  const things = makeWorld(seed).filter(({ exam }) => exam === (split === "test"));
  const rows = allRows(name, things, seed);
  const each = splitSizes[split] / optionCounts[name];
  // Validation rows are those behind the training rows.
  const skipped = split === "validation" ? splitSizes.train / optionCounts[name] : 0;
  const chosen = tasks[name].labels.flatMap((label) =>
    rows.filter(({ answer }) => answer === label).slice(skipped, skipped + each),
  );
  if (chosen.length !== splitSizes[split])
    throw new RangeError(
      `Cannot write ${name}: found ${String(chosen.length)} rows, expected ${String(splitSizes[split])}`,
    );
  return shuffled(chosen, seed, `split:${name}:${split}`);
};

/** The mixed set: the rows of all eight sets in random order, as LLM-Adapters' commonsense_170k mixes them. */
export const mixedRows = (seed: number, split: "train" | "validation"): readonly TaskRow[] =>
  shuffled(
    taskNames.flatMap((name) => taskRows(seed, name, split)),
    seed,
    `mix:${split}`,
  );
