import test from "ava";
import { parseOwnRows, recogniseForm } from "../../src/datasets/own-rows.js";
import { showRows } from "../../src/datasets/show-rows.js";

const parse = (...rows: readonly Record<string, unknown>[]) =>
  parseOwnRows({
    path: "a.jsonl",
    sha256: "",
    records: rows.map((value, i) => ({ place: `line ${String(i + 1)}`, value })),
  });

test("recogniseForm tells forms by their fields", (t) => {
  const name = (value: Record<string, unknown>, fields = {}) => recogniseForm(value, fields)?.name;
  t.is(name({ prompt: "a", completion: "b" }), "prompt/completion");
  t.is(name({ instruction: "a", input: "", output: "b" }), "instruction/input/output");
  t.is(name({ question: "a", answer: "b" }), "question/answer");
  t.is(name({ text: "a" }), "text");
  t.is(name({ messages: [] }), "chats (messages)");
  t.is(name({ conversations: [] }), "chats (conversations)");
  t.is(name({ q: "a", a: "b" }), undefined);
  t.is(name({ q: "a", a: "b" }, { promptField: "q", targetField: "a" }), "q/a");
  t.is(name({ question: "a", gold: "b" }, { targetField: "gold" }), "question/gold");
  t.is(name({ ask: "a", output: "b" }, { promptField: "ask" }), "ask/output");
});

test("ShareGPT's turns become messages, with the system field before them", (t) => {
  const { rows } = parse({
    system: "Be brief.",
    conversations: [
      { from: "human", value: "Hi" },
      { from: "gpt", value: "Yes." },
    ],
  });
  t.deepEqual(rows, [
    {
      kind: "chat",
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hi" },
        { role: "assistant", content: "Yes." },
      ],
    },
  ]);
});

test("rows that are not in the first one's form are told, all of them, with their places", (t) => {
  const user = { role: "user", content: "Hi" };
  const error = t.throws(() =>
    parse(
      { messages: [user, { role: "assistant", content: "Yes." }] },
      { messages: [] },
      { messages: [user] },
      { messages: "Hi" },
      { messages: [user, { role: "assistant", content: 5 }] },
      { messages: [user, { role: 1, content: "" }] },
      { text: "Hi" },
      { messages: ["Hi"] },
    ),
  );
  t.is(
    error.message,
    [
      "Cannot read a.jsonl, line 2: found no turns in messages, expected a dialogue",
      "  line 3: found turns of user alone, expected a user's and an assistant's",
      "  line 4: found a string in messages, expected an array of turns",
      "  line 5: found a number in content of messages[1], expected text",
      "  line 6: found a number in role of messages[1], expected text",
      "  line 7: found fields text, expected messages",
      "  line 8: found a string in messages[0], expected a turn",
    ].join("\n"),
  );
  t.throws(() => parse({ prompt: "a", completion: 3 }), {
    message: "Cannot read a.jsonl, line 1: found a number in completion, expected text",
  });
  t.throws(() => parse({ question: "a", answer: " " }), { message: /found an empty answer/ });
  t.throws(() => parse({ conversations: [{ from: "robot", value: "a" }] }), {
    message: /found "robot" in from of conversations\[0\], expected one of human/,
  });
  t.throws(() => parse({ a: 1 }), { message: /line 1: found fields a, expected fields that say/ });
});

test("showRows shows text, loss and what was cut in 80 columns", (t) => {
  const text = `${"Ask ".repeat(30)}\u001b[2J\n`;
  const ids = Int32Array.from([...text, ..."Yes 日本.\n"].map((c) => c.codePointAt(0) ?? 0));
  const contextLength = [...text].length;
  const lines = showRows(
    [{ encoded: { row: 2, ids, contextLength }, path: "a.jsonl", cut: '2 tokens at its end: "x"' }],
    (list) => String.fromCodePoint(...list),
  );
  t.deepEqual(lines, [
    `Row 3 of a.jsonl: ${String(ids.length)} tokens, loss on 8`,
    `        ${"Ask ".repeat(18).trimEnd()}`,
    `        ${"Ask ".repeat(12)}\\x1b[2J⏎`,
    "  loss  Yes 日本.⏎",
    '  cut   2 tokens at its end: "x"',
  ]);
});
