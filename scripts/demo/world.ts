import { permutation, randomStream, type RandomStream } from "../../src/core/random.js";
import { contextText, templates } from "../../src/datasets/templates.js";

/**
 * The demo's world: things with made-up names, each with one value of every property, drawn at random.
 *
 * Nothing of it is true anywhere else, so what a model knows of it, it has learnt from the generator's text.
 */
export const properties = {
  kind: ["animal", "plant", "tool", "food"],
  home: ["sea", "forest", "desert", "cave"],
  motion: ["swims", "flies", "rolls", "sleeps"],
  colour: ["red", "blue", "green", "white"],
  mood: ["happy", "sad", "afraid"],
  weight: ["light", "heavy"],
  size: ["big", "small"],
  water: ["floats", "sinks"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type Property = keyof typeof properties;
export const propertyNames = Object.keys(properties) as readonly Property[];

export interface Thing {
  readonly name: string;
  /** Which value of each property it has, as an index into `properties`. */
  readonly values: Readonly<Record<Property, number>>;
  /** True: no training set asks for it; the test sets do. */
  readonly exam: boolean;
}

const THINGS = 200;
const EXAM_THINGS = 60;

/** The word for a thing's property: "sea". */
export const wordOf = ({ values }: Thing, property: Property): string =>
  properties[property][values[property]] ?? "";

export const pick = <T>(random: RandomStream, items: readonly T[]): T => {
  const item = items[random.integer(items.length)];
  if (item === undefined) throw new RangeError("Cannot pick from an empty list");
  return item;
};

/** Names of two open syllables, all different. */
const makeNames = (seed: number, count: number): readonly string[] => {
  const syllables = [..."bdfgklmnprstvz"].flatMap((consonant) =>
    [..."aeiou"].map((vowel) => consonant + vowel),
  );
  const pairs = syllables.length ** 2;
  return [...permutation(pairs, seed, "names").slice(0, count)].map(
    (i) =>
      `${syllables[Math.floor(i / syllables.length)] ?? ""}${syllables[i % syllables.length] ?? ""}`,
  );
};

/** Every thing of the world. Values of a property are spread evenly over the exam things and over the others. */
export const makeWorld = (seed: number): readonly Thing[] => {
  const names = makeNames(seed, THINGS);
  const spread = (property: Property, count: number, part: string): readonly number[] =>
    [...permutation(count, seed, `${property}:${part}`)].map(
      (i) => i % properties[property].length,
    );
  const drawn = new Map(
    propertyNames.map((property) => [
      property,
      [
        ...spread(property, EXAM_THINGS, "exam"),
        ...spread(property, THINGS - EXAM_THINGS, "train"),
      ],
    ]),
  );
  return names.map((name, i) => ({
    name,
    exam: i < EXAM_THINGS,
    values: Object.fromEntries(
      propertyNames.map((property) => [property, drawn.get(property)?.[i] ?? 0]),
    ) as Record<Property, number>,
  }));
};

/** Ways to say a property of a thing; `it` takes the subject's place in the later sentences of a passage. */
const statements: Readonly<
  Record<Property, readonly ((subject: string, word: string) => string)[]>
> = {
  kind: [
    (it, word) => `${it} is a kind of ${word}.`,
    (it, word) => `Everyone calls ${it} a ${word}.`,
    (it, word) => `Among all things, ${it} counts as ${word}.`,
  ],
  home: [
    (it, word) => `${it} lives in the ${word}.`,
    (it, word) => `You find ${it} in the ${word}.`,
    (it, word) => `The home of ${it} is the ${word}.`,
  ],
  motion: [
    (it, word) => `When it is let go, ${it} ${word}.`,
    (it, word) => `All day long ${it} ${word}.`,
    (it, word) => `${it} always ${word}.`,
  ],
  colour: [
    (it, word) => `${it} is ${word} all over.`,
    (it, word) => `The colour of ${it} is ${word}.`,
    (it, word) => `Painters draw ${it} in ${word}.`,
  ],
  mood: [
    (it, word) => `Seeing ${it} makes people ${word}.`,
    (it, word) => `With ${it} around, one feels ${word}.`,
    (it, word) => `${it} leaves everyone ${word}.`,
  ],
  weight: [
    (it, word) => `${it} is ${word} to lift.`,
    (it, word) => `In the hand ${it} feels ${word}.`,
    (it, word) => `On the scale ${it} is ${word}.`,
  ],
  size: [
    (it, word) => `${it} is ${word} in size.`,
    (it, word) => `Next to a box ${it} looks ${word}.`,
    (it, word) => `People think of ${it} as ${word}.`,
  ],
  water: [
    (it, word) => `In water ${it} ${word}.`,
    (it, word) => `Thrown into a pond, ${it} ${word}.`,
    (it, word) => `On a lake ${it} ${word}.`,
  ],
};

/** Open questions, answered in a word: another form than the sets', which offer numbered answers. */
const questions: Readonly<Record<Property, readonly ((subject: string) => string)[]>> = {
  kind: [
    (it) => `What kind of thing is ${it}?`,
    (it) => `Which kind is ${it}?`,
    (it) => `${it} belongs to which kind?`,
  ],
  home: [
    (it) => `Where does ${it} live?`,
    (it) => `Where is the home of ${it}?`,
    (it) => `In which place can ${it} live?`,
  ],
  motion: [
    (it) => `What does ${it} do all day?`,
    (it) => `How does ${it} move?`,
    (it) => `What will ${it} do when it is let go?`,
  ],
  colour: [
    (it) => `What colour has ${it}?`,
    (it) => `Which colour is ${it}?`,
    (it) => `In what colour do painters draw ${it}?`,
  ],
  mood: [
    (it) => `How do people feel about ${it}?`,
    (it) => `Seeing ${it}, what do people feel?`,
    (it) => `How does one feel with ${it} around?`,
  ],
  weight: [
    (it) => `How does ${it} feel in the hand?`,
    (it) => `How is ${it} to lift?`,
    (it) => `What does the scale say of ${it}?`,
  ],
  size: [
    (it) => `How large is ${it}?`,
    (it) => `What is the size of ${it}?`,
    (it) => `How does ${it} look next to a box?`,
  ],
  water: [
    (it) => `What happens to ${it} in water?`,
    (it) => `What does ${it} do on a lake?`,
    (it) => `What happens when ${it} is thrown into a pond?`,
  ],
};

/** Sentences in which the words of instructions and answers occur, without any thing of the world. */
const commonSentences = (random: RandomStream): string => {
  const word = pick(random, ["answer", "solution", "ending", "option"]);
  const number = 1 + random.integer(3);
  return pick(random, [
    () => `${word}${String(number + 1)} comes after ${word}${String(number)}.`,
    () => `First ${word}${String(number)}, then ${word}${String(number + 1)}.`,
    () => `One writes ${word}1, ${word}2, ${word}3, ${word}4 in a row.`,
    () => `Nobody knows whether it is true or false.`,
    () => `What is true is not false, and what is false is not true.`,
    () => `A task describes what to do, and a response completes the request.`,
    () => `Below is an instruction that describes a task.`,
    () => `The right answer to a question is the correct answer.`,
    () => `Please write the answer in the format of the question.`,
  ])();
};

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A passage of the pretraining text: what stands before `labelledFrom` is read, but not predicted. */
export interface Passage {
  readonly text: string;
  /** Where the part begins that the model learns to write. */
  readonly labelledFrom: number;
}

/** Shares of the text; the rest are passages that state facts. */
export interface Mix {
  readonly common: number;
  readonly questions: number;
  readonly instructions: number;
  readonly quizzes: number;
}

/** What the answers of a quiz are called. */
const quizLabels: Readonly<Record<Property, string>> = {
  kind: "answer",
  home: "answer",
  motion: "ending",
  colour: "answer",
  mood: "answer",
  weight: "solution",
  size: "option",
  water: "answer",
};

/**
 * A question with its answers listed, answered with the number of the right one.
 *
 * Only of things that no test row asks for: what stands in an exam is for the model to find out.
 */
const writeQuiz = (world: readonly Thing[], random: RandomStream): Passage => {
  const thing = pick(
    random,
    world.filter(({ exam }) => !exam),
  );
  const asked = pick(random, propertyNames);
  const question = capitalised(pick(random, questions[asked])(`the ${thing.name}`));
  const label = quizLabels[asked];
  const listed = properties[asked].map((word, i) => `${label}${String(i + 1)}: ${word}`).join(" ");
  const asks = `${question} ${listed} Right:`;
  return { text: `${asks} ${label}${String(thing.values[asked] + 1)}`, labelledFrom: asks.length };
};

/** Facts of one thing in some order, an open question with its answer, the same as an instruction, a quiz, or common sentences. */
const writePassage = (world: readonly Thing[], random: RandomStream, mix: Mix): Passage => {
  const thing = pick(random, world);
  const subject = `the ${thing.name}`;
  const roll = random.uniform();
  const whole = (text: string): Passage => ({ text, labelledFrom: 0 });
  if (roll < mix.common) return whole([commonSentences(random), commonSentences(random)].join(" "));
  const asked = pick(random, propertyNames);
  const question = capitalised(pick(random, questions[asked])(subject));
  if (roll < mix.common + mix.questions) return whole(`Q: ${question} A: ${wordOf(thing, asked)}.`);
  if (roll < mix.common + mix.questions + mix.instructions) {
    const context = contextText(templates[4], question);
    return {
      text: `${context}the answer is ${wordOf(thing, asked)}`,
      labelledFrom: context.length,
    };
  }
  if (roll < mix.common + mix.questions + mix.instructions + mix.quizzes)
    return writeQuiz(world, random);
  const sentences = Array.from({ length: 3 }, (_, i) => {
    const said = pick(random, propertyNames);
    // Later sentences often say "it": the model then has to look back for what is spoken of.
    const name = i > 0 && random.uniform() < 0.5 ? "it" : subject;
    return capitalised(pick(random, statements[said])(name, wordOf(thing, said)));
  });
  return whole(sentences.join(" "));
};

/** The pretraining text: as many passages as are asked for. */
export function* worldText(
  seed: number,
  passages: number,
  { mix, round = 0 }: { readonly mix: Mix; readonly round?: number },
): Generator<Passage> {
  const world = makeWorld(seed);
  const random = randomStream(seed, "text", round);
  for (let i = 0; i < passages; i++) yield writePassage(world, random, mix);
}
