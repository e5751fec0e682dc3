import test from "ava";
import {
  mixedRows,
  optionCounts,
  splitSizes,
  taskNames,
  taskRows,
  type TaskName,
  type TaskRow,
} from "../../scripts/demo/tasks.js";
import { worldFacts, worldText } from "../../scripts/demo/world.js";

/** The answers of each set as the scorer looks for them. */
const keywords: Readonly<Record<TaskName, RegExp>> = {
  boolq: /^(true|false)$/,
  piqa: /^solution[12]$/,
  siqa: /^answer[123]$/,
  hellas: /^ending[1-4]$/,
  winog: /^option[12]$/,
  arce: /^answer[1-4]$/,
  arcc: /^answer[1-4]$/,
  obqa: /^answer[1-4]$/,
};

/** A row's question without its options: what must not be asked in training and in the test. */
const questionOf = ({ instruction }: TaskRow): string => instruction.split("\n\n")[0] ?? "";

const SEED = 1;

test("worldText depends on the seed alone", (t) => {
  t.deepEqual([...worldText(SEED, 200)], [...worldText(SEED, 200)]);
  t.notDeepEqual([...worldText(SEED, 200)], [...worldText(SEED + 1, 200)]);
});

test("worldFacts has no fact whose right answer is among the wrong ones", (t) => {
  for (const { question, answer, rivals } of worldFacts(SEED)) {
    t.false(rivals.includes(answer), question);
    t.true(new Set(rivals).size >= 4 && rivals.every((rival) => rival !== ""), question);
  }
});

test("worldText never shows a row of the eight sets or their way of answering", (t) => {
  const text = [...worldText(SEED, 5000)].join("\n");
  t.notRegex(
    text,
    /the correct answer is|answer\d|solution\d|option\d|ending\d|Instruction|\{name\}/i,
  );
});

for (const task of taskNames) {
  test(`taskRows of ${task} depend on the seed alone`, (t) => {
    t.deepEqual(taskRows(SEED, task, "test"), taskRows(SEED, task, "test"));
    t.notDeepEqual(taskRows(SEED, task, "test"), taskRows(SEED + 1, task, "test"));
  });

  test(`taskRows of ${task} have LLM-Adapters' form, and each answer is right equally often`, (t) => {
    for (const split of ["train", "validation", "test"] as const) {
      const rows = taskRows(SEED, task, split);
      t.is(rows.length, splitSizes[split]);
      const counts = new Map<string, number>();
      for (const { instruction, input, output, answer } of rows) {
        t.regex(instruction, /^Please (answer|choose) [^]*\n\n[^]*Answer format: [a-z0-9/]+$/);
        t.is(input, "");
        t.is(output, `the correct answer is ${answer}`);
        t.regex(answer, keywords[task]);
        t.true(instruction.slice(instruction.indexOf("Answer format")).includes(answer));
        counts.set(answer, (counts.get(answer) ?? 0) + 1);
      }
      t.is(counts.size, optionCounts[task]);
      for (const count of counts.values()) t.is(count, splitSizes[split] / optionCounts[task]);
    }
  });

  test(`no question of ${task}'s test set is asked in training`, (t) => {
    const train = new Set(taskRows(SEED, task, "train").map(questionOf));
    const validation = taskRows(SEED, task, "validation");
    const rows = taskRows(SEED, task, "test");
    t.is(new Set(rows.map(({ instruction }) => instruction)).size, rows.length);
    // arcc asks from the answer back ("Which animal eats fish?"): few questions, so that its options are what must differ.
    if (task !== "arcc")
      t.deepEqual(
        rows.filter((row) => train.has(questionOf(row))),
        [],
      );
    const instructions = new Set(
      taskRows(SEED, task, "train").map(({ instruction }) => instruction),
    );
    t.deepEqual(
      [...rows, ...validation].filter(({ instruction }) => instructions.has(instruction)),
      [],
    );
  });
}

test("arcc's test options are animals that no training row offers", (t) => {
  const optionsOf = ({ instruction }: TaskRow): string[] =>
    [...instruction.matchAll(/Answer\d: (\w+)/g)].map(([, option = ""]) => option);
  const offered = new Set(taskRows(SEED, "arcc", "train").flatMap(optionsOf));
  t.deepEqual(
    taskRows(SEED, "arcc", "test")
      .flatMap(optionsOf)
      .filter((option) => offered.has(option)),
    [],
  );
});

test("mixedRows are the eight sets' rows, each once", (t) => {
  const sorted = (rows: readonly TaskRow[]): string[] =>
    rows.map((row) => JSON.stringify(row)).sort();
  for (const split of ["train", "validation"] as const)
    t.deepEqual(
      sorted(mixedRows(SEED, split)),
      sorted(taskNames.flatMap((task) => taskRows(SEED, task, split))),
    );
});
