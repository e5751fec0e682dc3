import { permutation, randomStream, type RandomStream } from "../../src/core/random.js";
import { animals, covers, feelings, frames, laws, names, scripts, tools } from "./knowledge.js";

/**
 * One thing that is true in the demo's world, with what it takes to say it, to ask for it and to ask for it wrongly.
 *
 * A fact with `exam` set belongs to the half whose questions with several answers are kept for the test sets: the language
 * model reads it as a statement and as an open question only, and no training set asks for it.
 */
export interface Fact {
  readonly topic: Topic;
  /** What it is about: "fox". */
  readonly subject: string;
  /** Whether the fact's subject is kept for the test sets. */
  readonly exam: boolean;
  /** Sentences that say it. */
  readonly statements: readonly string[];
  /** An open question, without a capital and with its mark: "what colour is a fox?". */
  readonly question: string;
  /** The right answer as it would stand in a list of options. */
  readonly answer: string;
  /** Wrong answers of the same form, none of them true as well. */
  readonly rivals: readonly string[];
  /** The question for yes or no that proposes one answer: "is a fox orange?". */
  readonly propose: (answer: string) => string;
}

export const topics = [
  "colour",
  "home",
  "food",
  "cover",
  "material",
  "place",
  "goal",
  "feeling",
  "next",
  "script",
  "law",
] as const;
export type Topic = (typeof topics)[number];

/** What one of the generator's choices is drawn from. */
export const pick = <T>(random: RandomStream, items: readonly T[]): T => {
  const item = items[random.integer(items.length)];
  if (item === undefined) throw new RangeError("cannot pick from an empty list");
  return item;
};

/** `count` different items of the list, in random order. */
export const sample = <T>(random: RandomStream, items: readonly T[], count: number): T[] => {
  const rest = [...items];
  const taken: T[] = [];
  while (taken.length < count && rest.length > 0)
    taken.push(...rest.splice(random.integer(rest.length), 1));
  return taken;
};

/** "a fox", "an owl". */
export const withArticle = (noun: string): string =>
  `${/^[aeiou]/.test(noun) ? "an" : "a"} ${noun}`;

const unique = <T>(items: readonly T[]): T[] => [...new Set(items)];
const without = (items: readonly string[], ...taken: string[]): string[] =>
  unique(items).filter((item) => !taken.includes(item));

/** The numbers of the 40 % of `count` subjects that are kept for the test sets. */
const examSubjects = (seed: number, purpose: string, count: number): ReadonlySet<number> =>
  new Set(permutation(count, seed, `exam:${purpose}`).slice(0, Math.round(count * 0.4)));

const animalFacts = (seed: number): Fact[] => {
  const exam = examSubjects(seed, "animals", animals.length);
  return animals.flatMap((animal, i): Fact[] => {
    const a = withArticle(animal.name);
    const cover = covers[animal.kind] ?? "";
    const of = (column: "colour" | "home" | "food"): string[] =>
      without(
        animals.map((other) => other[column]),
        animal[column],
      );
    const common = { exam: exam.has(i), subject: animal.name };
    return [
      {
        ...common,
        topic: "colour",
        statements: [`${a} is ${animal.colour}.`, `the colour of ${a} is ${animal.colour}.`],
        question: `what colour is ${a}?`,
        answer: animal.colour,
        rivals: of("colour"),
        propose: (colour) => `is ${a} ${colour}?`,
      },
      {
        ...common,
        topic: "home",
        statements: [
          `${a} lives in the ${animal.home}.`,
          `the home of ${a} is the ${animal.home}.`,
        ],
        question: `where does ${a} live?`,
        answer: `in the ${animal.home}`,
        rivals: of("home").map((home) => `in the ${home}`),
        propose: (home) => `does ${a} live ${home}?`,
      },
      {
        ...common,
        topic: "food",
        statements: [`${a} eats ${animal.food}.`, `the food of ${a} is ${animal.food}.`],
        question: `what does ${a} eat?`,
        answer: animal.food,
        rivals: of("food"),
        propose: (food) => `does ${a} eat ${food}?`,
      },
      {
        ...common,
        topic: "cover",
        statements: [`${a} is a kind of ${animal.kind} and has ${cover}.`, `${a} has ${cover}.`],
        question: `what does ${a} have?`,
        answer: cover,
        rivals: without(Object.values(covers), cover),
        propose: (other) => `does ${a} have ${other}?`,
      },
    ];
  });
};

const toolFacts = (seed: number): Fact[] => {
  const exam = examSubjects(seed, "tools", tools.length);
  return tools.flatMap((tool, i): Fact[] => {
    const a = withArticle(tool.name);
    const common = { exam: exam.has(i), subject: tool.name };
    return [
      {
        ...common,
        topic: "material",
        statements: [
          `${a} is made of ${tool.material}.`,
          `people use ${tool.material} to make ${a}.`,
        ],
        question: `what is ${a} made of?`,
        answer: tool.material,
        rivals: without(
          tools.map((other) => other.material),
          tool.material,
        ),
        propose: (material) => `is ${a} made of ${material}?`,
      },
      {
        ...common,
        topic: "place",
        statements: [`${a} is kept in the ${tool.place}.`, `in the ${tool.place} there is ${a}.`],
        question: `where is ${a} kept?`,
        answer: `in the ${tool.place}`,
        rivals: without(
          tools.map((other) => other.place),
          tool.place,
        ).map((place) => `in the ${place}`),
        propose: (place) => `is ${a} kept ${place}?`,
      },
      {
        ...common,
        topic: "goal",
        statements: [`to ${tool.goal}, use ${a}.`, `with ${a} you can ${tool.goal}.`],
        question: `how do you ${tool.goal}?`,
        answer: `use ${a}`,
        rivals: tools
          .filter((other) => other.group !== tool.group)
          .map((other) => `use ${withArticle(other.name)}`),
        propose: (use) => `to ${tool.goal}, do you ${use}?`,
      },
    ];
  });
};

/** Feelings and what people do next; `{name}` stands for whoever it happens to. */
const feelingFacts = (seed: number): Fact[] =>
  feelings.flatMap((feeling) => {
    const exam = examSubjects(seed, `events:${feeling.name}`, feeling.events.length);
    return feeling.events.flatMap((event, i): Fact[] => [
      {
        topic: "feeling",
        subject: event,
        exam: exam.has(i),
        statements: [
          `{name} ${event} and feels ${feeling.name}.`,
          `{name} is ${feeling.name}, because {name} ${event}.`,
        ],
        question: `{name} ${event}. how does {name} feel?`,
        answer: feeling.name,
        rivals: without(
          feelings.map((other) => other.name),
          feeling.name,
        ),
        propose: (other) => `{name} ${event}. does {name} feel ${other}?`,
      },
      {
        topic: "next",
        subject: event,
        exam: exam.has(i),
        statements: [
          `{name} ${event} and wants to ${feeling.next}.`,
          `after {name} ${event}, {name} will ${feeling.next}.`,
        ],
        question: `{name} ${event}. what will {name} want to do next?`,
        answer: feeling.next,
        rivals: without(
          feelings.map((other) => other.next),
          feeling.next,
        ),
        propose: (other) => `{name} ${event}. does {name} want to ${other}?`,
      },
    ]);
  });

const scriptFacts = (seed: number): Fact[] => {
  const exam = examSubjects(seed, "scripts", scripts.length);
  return scripts.flatMap((script, i) =>
    script.steps.slice(1).map((step, j): Fact => {
      const before = script.steps[j] ?? "";
      return {
        topic: "script",
        subject: before,
        exam: exam.has(i),
        statements: [
          `${script.title}: {name} ${before}. then {name} ${step}.`,
          `{name} ${before} and next {name} ${step}.`,
        ],
        question: `${script.title}: {name} ${before}. what then?`,
        answer: step,
        // Steps of other scripts: another step of the same one could be argued for.
        rivals: scripts.filter((other) => other !== script).flatMap((other) => other.steps),
        propose: (other) =>
          `${script.title}: {name} ${before}. is it true that {name} then ${other}?`,
      };
    }),
  );
};

const lawFacts = (seed: number): Fact[] => {
  const exam = examSubjects(seed, "laws", laws.length);
  return laws.map((law, i) => ({
    topic: "law",
    subject: law.cause,
    exam: exam.has(i),
    statements: [`${law.cause} ${law.effect}.`, `it is known that ${law.cause} ${law.effect}.`],
    question: `what happens: ${law.cause}`,
    answer: law.effect,
    rivals: without(
      laws.map((other) => other.effect),
      law.effect,
    ),
    propose: (effect) => `is it true that ${law.cause} ${effect}?`,
  }));
};

/** Every fact of the world, in the order of the tables. `seed` chooses only which half is kept for the test sets. */
export const worldFacts = (seed: number): readonly Fact[] => [
  ...animalFacts(seed),
  ...toolFacts(seed),
  ...feelingFacts(seed),
  ...scriptFacts(seed),
  ...lawFacts(seed),
];

/** A sentence about two people in which one clause speaks of one of them, who is named only in `story`. */
export interface Coreference {
  readonly exam: boolean;
  readonly people: readonly [string, string];
  /** Whom the clause is about. */
  readonly who: string;
  /** "Anna lifted Ben because _ was strong." */
  readonly blank: string;
  /** "was strong" */
  readonly clause: string;
  /** The blank filled in. */
  readonly story: string;
}

/** A sentence from a random frame of the wanted half and two random people. */
export const coreference = (seed: number, random: RandomStream, exam: boolean): Coreference => {
  const kept = examSubjects(seed, "frames", frames.length);
  const frame = pick(
    random,
    frames.filter((_, i) => kept.has(i) === exam),
  );
  const [one = "", two = ""] = sample(random, names, 2);
  const isFirst = random.integer(2) === 0;
  const clause = isFirst ? frame.first : frame.second;
  const who = isFirst ? one : two;
  const blank = `${one} ${frame.verb} ${two} because _ ${clause}.`;
  return { exam, people: [one, two], who, clause, blank, story: blank.replace("_", who) };
};

/** Puts a name where the fact leaves one open. */
export const withName = (text: string, name: string): string => text.replaceAll("{name}", name);

/** Options of a question: the right answer at a random place among `count - 1` wrong ones, counted from 0. */
export const optionsOf = (
  fact: Pick<Fact, "answer" | "rivals">,
  random: RandomStream,
  count: number,
  place = random.integer(count),
): { readonly options: readonly string[]; readonly right: number } => {
  const options = sample(random, fact.rivals, count - 1);
  options.splice(place, 0, fact.answer);
  return { options, right: place };
};

/** The topics that an animal can be named from, with the verb that asks for it. */
const reversible: Readonly<Partial<Record<Topic, string>>> = {
  colour: "is",
  home: "lives",
  food: "eats",
};

/** A question from a colour, a home or a food back to the animal: "which animal eats fish?". */
export const reversed = (
  random: RandomStream,
  facts: readonly Fact[],
): Pick<Fact, "question" | "answer" | "rivals"> => {
  const usable = facts.filter((fact) => reversible[fact.topic] !== undefined);
  const fact = pick(random, usable);
  return {
    question: `which animal ${reversible[fact.topic] ?? ""} ${fact.answer}?`,
    answer: fact.subject,
    rivals: usable
      .filter((other) => other.topic === fact.topic && other.answer !== fact.answer)
      .map((other) => other.subject),
  };
};

/** How a quiz in the language model's text numbers its options; no data set's way. */
const listStyles: readonly ((number: number) => string)[] = [
  (number) => `(${String(number)})`,
  (number) => `#${String(number)}`,
  (number) => `line${String(number)}`,
];

const listed = (style: (number: number) => string, options: readonly string[]): string =>
  options.map((option, i) => `${style(i + 1)} ${option}`).join(" ");

/** Sentences that use the words of the answers in their plain meaning, so that the model has met each of them. */
const chatter = [
  "the answer was correct.",
  "a true story has a happy ending.",
  "the solution was not an option.",
  "this is the correct solution.",
  "no answer is an answer too.",
  "is the option open? it is.",
  "that was false and this is true.",
  "what is true is not false.",
  "the ending was the best solution.",
];

/** What may stand between a question and its answer, so that the answer is not tied to one distance from the question. */
const fillers = [
  "",
  "",
  "",
  "now say it.",
  "think about it first.",
  "this is not hard to say.",
  "what do you say to that?",
  "take your time and then tell us.",
  "one of them is right and the others are not.",
  "you know the world, so you know this one too.",
  "we ask you and you say what you know of it, in a word.",
];

const filled = (random: RandomStream, before: string, after: string): string =>
  [before, pick(random, fillers), after].filter((part) => part !== "").join(" ");

/**
 * A list of options, a verdict after some or all of them, and the choice: "(1) red no (1) (2) orange yes (2) pick (2) orange."
 *
 * Verdicts teach to compare each option with the question; lists with few or none teach to choose without saying them.
 */
const quiz = (
  random: RandomStream,
  question: string,
  options: readonly string[],
  right: number,
): string => {
  const style = pick(random, listStyles);
  const verdicts = pick(random, [1, 1, 0.5, 0, 0]);
  const lines = options.map((option, i) => {
    const line = `${style(i + 1)} ${option}`;
    return random.uniform() < verdicts
      ? `${line} ${i === right ? "yes" : "no"} ${style(i + 1)}`
      : line;
  });
  return `${question} ${filled(random, lines.join(" "), `pick ${style(right + 1)} ${options[right] ?? ""}.`)}`;
};

interface Knowledge {
  readonly seed: number;
  readonly all: readonly Fact[];
  /** The facts that are asked for with several answers. */
  readonly study: readonly Fact[];
}

/** One kind of text: how often it comes, in parts of all, and how a piece of it is written. */
interface Genre {
  readonly share: number;
  readonly write: (random: RandomStream, name: string, knowledge: Knowledge) => string;
}

export const genres: readonly Genre[] = [
  {
    // What is so.
    share: 0.16,
    write(random, name, { all }) {
      return withName(pick(random, pick(random, all).statements), name);
    },
  },
  {
    // Open questions.
    share: 0.08,
    write(random, name, { all }) {
      const fact = pick(random, all);
      return withName(`${fact.question} ${fact.answer}.`, name);
    },
  },
  {
    // Stories about two people, and who is meant.
    share: 0.08,
    write(random, _, { seed }) {
      const told = coreference(seed, random, random.uniform() < 0.4);
      return random.integer(2) === 0
        ? told.story
        : `${told.blank.replace("_", "someone")} who ${told.clause}? ${told.who}.`;
    },
  },
  { share: 0.02, write: (random) => pick(random, chatter) },
  {
    // Is it so?
    share: 0.14,
    write(random, name, { study }) {
      const fact = pick(random, study);
      const isRight = random.integer(2) === 0;
      const proposed = isRight ? fact.answer : pick(random, fact.rivals);
      return withName(
        filled(random, fact.propose(proposed), `${isRight ? "yes" : "no"}, ${fact.answer}.`),
        name,
      );
    },
  },
  {
    // Questions with several answers.
    share: 0.3,
    write(random, name, { study }) {
      const fact = pick(random, study);
      const { options, right } = optionsOf(fact, random, 2 + random.integer(4));
      return withName(quiz(random, fact.question, options, right), name);
    },
  },
  {
    // Who is meant, of two?
    share: 0.08,
    write(random, _, { seed }) {
      const { blank, clause, people, who } = coreference(seed, random, false);
      const options = sample(random, people, 2);
      const question = `${blank.replace("_", "someone")} who ${clause}?`;
      return quiz(random, question, options, options.indexOf(who));
    },
  },
  {
    // Which animal has it?
    share: 0.1,
    write(random, _, { study }) {
      const { question, answer, rivals } = reversed(random, study);
      const { options, right } = optionsOf({ answer, rivals }, random, 2 + random.integer(4));
      return quiz(random, question, options, right);
    },
  },
];

/** The kind of text that the number in [0, 1) falls to. */
const genreAt = (position: number): Genre => {
  let rest = position * genres.reduce((sum, { share }) => sum + share, 0);
  const genre = genres.find(({ share }) => (rest -= share) < 0) ?? genres.at(-1);
  if (!genre) throw new RangeError("there are no genres");
  return genre;
};

/** `count` pieces of text about the world, a sentence or a quiz each. */
export function* worldText(seed: number, count: number): Generator<string> {
  const all = worldFacts(seed);
  const knowledge = { seed, all, study: all.filter((fact) => !fact.exam) };
  for (let i = 0; i < count; i++) {
    const random = randomStream(seed, "text", i);
    yield genreAt(random.uniform()).write(random, pick(random, names), knowledge);
  }
}

/** Every sentence of the world once, for the tokenizer to see rare words as often as common ones. */
export function* worldSentences(seed: number): Generator<string> {
  for (const fact of worldFacts(seed)) yield* [...fact.statements, fact.question];
  for (const { verb, first, second } of frames)
    yield* [`Anna ${verb} Ben because Anna ${first}.`, `Anna ${verb} Ben because Ben ${second}.`];
  for (const name of names) yield `${name} and ${name}.`;
  yield* chatter;
}
