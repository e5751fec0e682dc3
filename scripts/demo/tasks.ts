import { permutation, randomStream, type RandomStream } from "../../src/core/random.js";
import {
  coreference,
  optionsOf,
  pick,
  reversed,
  withName,
  worldFacts,
  type Fact,
  type Topic,
} from "./world.js";
import { names } from "./knowledge.js";

/** A row of a set in LLM-Adapters' form. */
export interface TaskRow {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  readonly answer: string;
}

/** The eight sets by the names that `--dataset` knows them by. */
export const taskNames = [
  "boolq",
  "piqa",
  "siqa",
  "hellas",
  "winog",
  "arce",
  "arcc",
  "obqa",
] as const;
export type TaskName = (typeof taskNames)[number];

/** The folder of each set under `llm_adapt/`. */
export const taskFolders: Readonly<Record<TaskName, string>> = {
  boolq: "boolq",
  piqa: "piqa",
  siqa: "social_i_qa",
  hellas: "hellaswag",
  winog: "winogrande",
  arce: "ARC-Easy",
  arcc: "ARC-Challenge",
  obqa: "openbookqa",
};

/** Number of answers a row of each set offers; 1 / this is what guessing gets. */
export const optionCounts: Readonly<Record<TaskName, number>> = {
  boolq: 2,
  piqa: 2,
  siqa: 3,
  hellas: 4,
  winog: 2,
  arce: 4,
  arcc: 4,
  obqa: 4,
};

const row = (instruction: string, answer: string): TaskRow => ({
  instruction,
  input: "",
  output: `the correct answer is ${answer}`,
  answer,
});

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const numbered = (word: string, options: readonly string[], separator: string): string =>
  options.map((option, i) => `${capitalised(word)}${String(i + 1)}: ${option}`).join(separator);
const formats = (word: string, count: number): string =>
  Array.from({ length: count }, (_, i) => `${word}${String(i + 1)}`).join("/");

/** What a set's writer gets: random numbers, the facts of the wanted half, and where the right answer must stand. */
interface Writing {
  readonly seed: number;
  readonly random: RandomStream;
  readonly facts: readonly Fact[];
  readonly exam: boolean;
  /** Number of the right answer, from 0; the sets spread it evenly, so that a constant guess gets chance. */
  readonly place: number;
}

const factOf = ({ random, facts }: Writing, ...topics: readonly Topic[]): Fact => {
  const topic = pick(random, topics);
  return pick(
    random,
    facts.filter((fact) => fact.topic === topic),
  );
};

const choose = (
  preamble: string,
  question: string,
  word: string,
  options: readonly string[],
  right: number,
): TaskRow =>
  row(
    `${preamble}: ${question}\n\n${numbered(word, options, " ")}\n\nAnswer format: ${formats(word, options.length)}`,
    `${word}${String(right + 1)}`,
  );

const questionPreamble = "Please choose the correct answer to the question";

const plainQuestion = (writing: Writing, count: number, ...topics: readonly Topic[]): TaskRow => {
  const fact = factOf(writing, ...topics);
  const { options } = optionsOf(fact, writing.random, count, writing.place);
  const name = pick(writing.random, names);
  return choose(
    questionPreamble,
    capitalised(withName(fact.question, name)),
    "answer",
    options.map((option) => withName(option, name)),
    writing.place,
  );
};

/** Questions from an answer back to the animal: which one of four has it? */
const reverseQuestion = ({ random, facts, place }: Writing): TaskRow => {
  const { question, answer, rivals } = reversed(random, facts);
  const { options } = optionsOf({ answer, rivals }, random, 4, place);
  return choose(questionPreamble, capitalised(question), "answer", options, place);
};

const writers: Readonly<Record<TaskName, (writing: Writing) => TaskRow>> = {
  boolq(writing) {
    const fact = factOf(writing, "colour", "home", "food", "cover", "material", "place");
    const proposed = writing.place === 0 ? fact.answer : pick(writing.random, fact.rivals);
    return row(
      `Please answer the following question with true or false, question: ${fact.propose(proposed)}\n\nAnswer format: true/false`,
      writing.place === 0 ? "true" : "false",
    );
  },
  piqa(writing) {
    const fact = factOf(writing, "goal");
    const { options } = optionsOf(fact, writing.random, 2, writing.place);
    return row(
      `Please choose the correct solution to the question: ${capitalised(fact.question)}\n\n${numbered(
        "solution",
        options.map((option) => `${option}.`),
        "\n\n",
      )}\n\nAnswer format: solution1/solution2`,
      `solution${String(writing.place + 1)}`,
    );
  },
  siqa: (writing) => plainQuestion(writing, 3, "feeling", "next"),
  hellas(writing) {
    const fact = factOf(writing, "script");
    const { options } = optionsOf(fact, writing.random, 4, writing.place);
    const name = pick(writing.random, names);
    return choose(
      "Please choose the correct ending to complete the given sentence",
      withName(fact.question.replace("what then?", "then {name}"), name),
      "ending",
      options.map((option) => `${option}.`),
      writing.place,
    );
  },
  winog({ seed, random, exam, place }) {
    const told = coreference(seed, random, exam);
    const other = told.people.find((person) => person !== told.who) ?? "";
    const [one, two] = place === 0 ? [told.who, other] : [other, told.who];
    return row(
      `Please choose the correct answer to fill in the blank to complete the given sentence: ${told.blank}\n\nOption1: ${one} Option2: ${two} Answer format: option1/option2`,
      `option${String(place + 1)}`,
    );
  },
  arce: (writing) =>
    plainQuestion(writing, 4, "colour", "home", "food", "cover", "material", "place"),
  arcc: reverseQuestion,
  obqa(writing) {
    const fact = factOf(writing, "law");
    const { options } = optionsOf(fact, writing.random, 4, writing.place);
    return choose(
      questionPreamble,
      fact.question.replace("what happens: ", ""),
      "answer",
      options,
      writing.place,
    );
  },
};

/** Rows a split of one set has. Divisible by 2, 3 and 4, so that every answer is right equally often. */
export const splitSizes = { train: 300, validation: 12, test: 96 } as const;
export type Split = keyof typeof splitSizes;

/**
 * The rows of one split of one set.
 *
 * Test rows ask only for the half of the facts that no training or validation row asks for. Within a set no row comes twice, and
 * each answer is right in the same number of rows, in random order.
 */
export const taskRows = (seed: number, task: TaskName, split: Split): readonly TaskRow[] => {
  const exam = split === "test";
  const facts = worldFacts(seed).filter((fact) => fact.exam === exam);
  const count = splitSizes[split];
  const seen = new Set<string>();
  // Validation rows must differ from training rows of the same half.
  if (split === "validation")
    for (const { instruction } of taskRows(seed, task, "train")) seen.add(instruction);
  const order = permutation(count, seed, `order:${task}:${split}`);
  const rows: TaskRow[] = [];
  for (let draw = 0; rows.length < count; draw++) {
    if (draw > 100 * count)
      throw new RangeError(`the world is too small for ${String(count)} rows of ${task}`);
    const random = randomStream(seed, `rows:${task}:${split}`, draw);
    const place = (order[rows.length] ?? 0) % optionCounts[task];
    const written = writers[task]({ seed, random, facts, exam, place });
    if (seen.has(written.instruction)) continue;
    seen.add(written.instruction);
    rows.push(written);
  }
  return rows;
};

/** The mixed set: the rows of all eight sets in random order, as LLM-Adapters' commonsense_170k mixes them. */
export const mixedRows = (seed: number, split: "train" | "validation"): readonly TaskRow[] => {
  const rows = taskNames.flatMap((task) => taskRows(seed, task, split));
  return Array.from(permutation(rows.length, seed, `mix:${split}`), (i) => rows[i]).filter(
    (mixed) => mixed !== undefined,
  );
};
