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
import { pretraining } from "../../scripts/demo/recipe.js";
import { makeWorld, worldText } from "../../scripts/demo/world.js";

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

const SEED = 1;
const { mix } = pretraining.rounds[0];

test("worldText depends on the seed alone", (t) => {
  t.deepEqual([...worldText(SEED, 200, { mix })], [...worldText(SEED, 200, { mix })]);
  t.notDeepEqual([...worldText(SEED, 200, { mix })], [...worldText(SEED + 1, 200, { mix })]);
});

test("makeWorld gives every thing a name of its own", (t) => {
  const names = makeWorld(SEED).map(({ name }) => name);
  t.is(new Set(names).size, names.length);
});

test("worldText never shows the sets' way of answering", (t) => {
  const text = Array.from(worldText(SEED, 5000, { mix }), (passage) => passage.text).join("\n");
  t.notRegex(text, /the correct answer is (answer|solution|option|ending|true|false)/i);
  t.notRegex(text, /Answer format|Answer1:|Solution1:|Option1:|Ending1:/);
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

  test(`no thing of ${task}'s test set is named in training`, (t) => {
    const exam = makeWorld(SEED).filter((thing) => thing.exam);
    for (const split of ["train", "validation"] as const)
      for (const { instruction } of taskRows(SEED, task, split))
        t.false(
          exam.some(({ name }) => instruction.includes(` ${name}`)),
          instruction,
        );
    const rows = taskRows(SEED, task, "test");
    t.is(new Set(rows.map(({ instruction }) => instruction)).size, rows.length);
    t.true(
      rows.every(({ instruction }) => exam.some(({ name }) => instruction.includes(` ${name}`))),
    );
  });
}

test("mixedRows are the eight sets' rows, each once", (t) => {
  const sorted = (rows: readonly TaskRow[]): string[] =>
    rows.map((row) => JSON.stringify(row)).sort();
  for (const split of ["train", "validation"] as const)
    t.deepEqual(
      sorted(mixedRows(SEED, split)),
      sorted(taskNames.flatMap((task) => taskRows(SEED, task, split))),
    );
});

test("worldText's quizzes ask for no thing of the test sets", (t) => {
  const exam = makeWorld(SEED).filter((thing) => thing.exam);
  const mix = { common: 0, questions: 0, instructions: 0, quizzes: 1 };
  for (const { text, labelledFrom } of worldText(SEED, 500, { mix })) {
    t.false(
      exam.some(({ name }) => text.includes(` ${name}`)),
      text,
    );
    t.regex(text.slice(labelledFrom), /^ (answer|solution|ending|option)[1-4]$/);
  }
});
