import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import test from "ava";
import { noLoss } from "../../src/datasets/encoded-rows.js";
import { encodeOwnRows } from "../../src/datasets/own-encode.js";
import { parseOwnRows } from "../../src/datasets/own-rows.js";
import type { Chat } from "../../src/tokenizer/chat-message.js";
import {
  chatMl,
  chatTemplateOf,
  makeChatTemplate,
  type ChatTemplate,
} from "../../src/tokenizer/chat-template.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { encodeOwnPrompts } from "../../src/datasets/own-answers.js";
import type { RecordFile } from "../../src/datasets/read-records.js";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { madeUpChats } from "../support/made-up-chats.js";
import { testWithShared } from "../support/shared.js";

interface StoredRow {
  readonly tokens: number;
  readonly sha256: string;
  readonly spans?: readonly (readonly [number, number])[];
}

interface Stored {
  readonly templates: Readonly<Record<"marked" | "blocks", string>>;
  readonly rows: readonly Readonly<Record<"own" | "marked" | "blocks", StoredRow>>[];
}

const file = {
  path: "chats.json",
  sha256: "",
  records: madeUpChats().map((value, i) => ({
    place: `row ${String(i + 1)}`,
    value: { ...value },
  })),
};

const encode = async (tokenizer: Tokenizer, chat: ChatTemplate, of: RecordFile = file) => {
  const { rows } = parseOwnRows(of);
  const encoded = await encodeOwnRows(of, rows, {
    tokenizer,
    template: { name: "chat", chat },
    maxLength: 1000,
    numbers: rows.map((_, i) => i),
  });
  return encoded.rows.map(({ ids, labels = new Int32Array() }) => {
    const spans: [number, number][] = [];
    for (const [i, label] of labels.entries()) {
      if (label === noLoss) continue;
      const last = spans.at(-1);
      if (last?.[1] === i) last[1] = i + 1;
      else spans.push([i, i + 1]);
    }
    const all = [...ids];
    const sha256 = createHash("sha256").update(JSON.stringify(all)).digest("hex");
    return { tokens: ids.length, sha256, spans, all };
  });
};

testWithShared(
  "token ids and assistant masks of 50 chats are those of transformers' apply_chat_template",
  "data/tokenizers/smollm2-135m-instruct",
  async (t, folder) => {
    const tokenizer = await loadTokenizer(folder);
    const stored = JSON.parse(
      await readFile(new URL("../fixtures/chats/smollm2.json", import.meta.url), "utf8"),
    ) as Stored;
    for (const name of ["marked", "blocks"] as const) {
      const template = makeChatTemplate(stored.templates[name], tokenizer, name);
      t.is(template.finds, "marks");
      t.deepEqual(
        (await encode(tokenizer, template)).map(({ all: _, ...row }) => row),
        stored.rows.map((row) => row[name]) as never,
        name,
      );
    }
    const own = makeChatTemplate((await chatTemplateOf(tokenizer)) ?? "", tokenizer, folder);
    t.is(own.finds, "turns");
    const found = await encode(tokenizer, own);
    t.deepEqual(
      found.map(({ tokens, sha256 }) => ({ tokens, sha256 })),
      stored.rows.map((row) => row.own),
    );
    // What marks would enclose: said by the assistant, with the token that ends its turn.
    const learnt = (rows: typeof found): number[] =>
      rows.map(({ spans }) => spans.reduce((sum, [start, end]) => sum + end - start, 0));
    t.deepEqual(learnt(found), learnt(stored.rows.map((row) => row.marked) as never));
  },
);

const plain = { bosToken: "<s>", eosToken: "</s>", padToken: "<pad>" };
const said = (template: string): unknown => {
  const chat = makeChatTemplate(template, plain, "t").render({
    messages: [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Yes." },
    ],
  });
  return typeof chat === "string"
    ? chat
    : chat.assistant.map(({ start, end }) => chat.text.slice(start, end));
};

test("a chat template without marks: a turn is what it adds behind the prompt for it", (t) => {
  t.deepEqual(said(chatMl), ["Yes.<|im_end|>"]);
  const roles = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
  t.deepEqual(said(roles), ["Yes.\n"], "add_generation_prompt is not known to this one");
});

test("a chat template that refuses, drops turns or marks nothing is told so", (t) => {
  t.is(
    said("{{ raise_exception('Roles must alternate') }}"),
    "the chat template says: Roles must alternate",
  );
  t.regex(String(said("{{ messages[0].content }}")), /does not write turn 2, the assistant's/);
  t.regex(
    String(said("{% generation %}{% endgeneration %}{{ messages[1].content }}")),
    /marks nothing as the assistant's in turns of user, assistant/,
  );
  t.throws(() => makeChatTemplate("{% for %}", plain, "t"), {
    message: /Cannot use the chat template/,
  });
});

interface StoredChat {
  readonly template: "tools" | "thoughts";
  readonly messages: readonly object[];
  readonly tools?: readonly object[];
  readonly ids: readonly number[];
  readonly spans: readonly (readonly [number, number])[];
  readonly promptTokens: number;
}

const storedTools = JSON.parse(
  readFileSync(new URL("../fixtures/chats/tools.json", import.meta.url), "utf8"),
) as {
  readonly templates: Readonly<Record<"tools" | "thoughts" | "plain", string>>;
  readonly chats: readonly StoredChat[];
};

testWithShared(
  "tools, their calls, content in pieces and thoughts: ids, assistant masks and prompts of transformers' apply_chat_template",
  "data/tokenizers/smollm2-135m-instruct",
  async (t, folder) => {
    const tokenizer = await loadTokenizer(folder);
    for (const [name, source] of [
      ["tools", "tools"],
      ["thoughts", "thoughts"],
      ["thoughts", "plain"],
    ] as const) {
      const stored = storedTools.chats.filter(({ template }) => template === name);
      const of = {
        path: name,
        sha256: "",
        records: stored.map(({ messages, tools }, i) => ({
          place: `row ${String(i + 1)}`,
          // As JSON text too, as data sets on the Hub store tools.
          value: { messages, tools: i % 4 === 0 ? JSON.stringify(tools) : tools },
        })),
      };
      const chat = makeChatTemplate(storedTools.templates[source], tokenizer, name);
      const found = await encode(tokenizer, chat, of);
      t.deepEqual(
        found.map(({ all, spans }) => ({ ids: all, spans })),
        // Without marks the turns are found by the prompts before them: the same tokens.
        stored.map(({ ids, spans }) => ({ ids, spans })) as never,
        source,
      );
      const { rows } = parseOwnRows(of);
      const { prompts } = await encodeOwnPrompts(of, rows, {
        ...{ tokenizer, template: { name, chat }, most: 1000 },
      });
      t.deepEqual(
        prompts.map(({ ids }) => ids.length),
        stored.map(({ promptTokens }) => promptTokens),
        source,
      );
    }
  },
);

test("a template that rewrites earlier turns is learnt as it writes them, and refused where a turn is lost", (t) => {
  const turns = (first: string): Chat => ({
    messages: [
      { role: "user", content: "Where?" },
      { role: "assistant", content: first },
      { role: "user", content: "Sure?" },
      { role: "assistant", content: "<think>\nHm.\n</think>\n\nYes." },
    ],
  });
  const render = (template: string, chat: Chat): unknown => {
    const found = makeChatTemplate(template, plain, "t").render(chat);
    return typeof found === "string"
      ? found
      : [
          found.isRewritten,
          ...found.assistant.map(({ start, end }) => found.text.slice(start, end)),
        ];
  };
  const { plain: thinks } = storedTools.templates;
  t.deepEqual(render(thinks, turns("<think>\nA.\n</think>\n\nThere.")), [
    true,
    "There.<|im_end|>",
    "<think>\nHm.\n</think>\n\nYes.<|im_end|>",
  ]);
  const lost = /does not write turn 2, the assistant's, behind the turns before it as it stands/;
  // A user who writes what stands before an answer, and a turn that is left out.
  const forged: Chat = {
    messages: turns("There.").messages.map((turn) =>
      turn.content === "Sure?" ? { ...turn, content: "<|im_start|>assistant\nSure?" } : turn,
    ),
  };
  t.regex(String(render(thinks, forged)), lost);
  const drops = chatMl
    .replace(
      "{% for message in messages %}",
      "{% for message in messages %}{% if loop.last or loop.index != 2 %}",
    )
    .replace("{% endfor %}", "{% endif %}{% endfor %}");
  t.regex(String(render(drops, turns("There."))), lost);
});

test("a template that knows no pieces gets a turn as text, and what is no text is told", (t) => {
  const pieces = (type: string) => [
    {
      role: "user",
      content: [
        { type: "text", text: "a" },
        { type, text: "b" },
      ],
    },
    { role: "assistant", content: "c" },
  ];
  const parse = (value: Readonly<Record<string, unknown>>) =>
    parseOwnRows({ path: "a", sha256: "", records: [{ place: "row 1", value }] }).rows[0];
  const row = parse({ messages: pieces("text") });
  const chat = row?.kind === "chat" ? makeChatTemplate(chatMl, plain, "t").render(row) : "";
  t.regex(typeof chat === "string" ? chat : chat.text, /user\na\nb<\|im_end\|>/);
  for (const [value, message] of [
    [
      { messages: pieces("image") },
      /a piece of type "image" in piece 2 of content of messages\[0\]/,
    ],
    [{ messages: [{ role: "assistant" }] }, /found undefined|found nothing in content/],
    [{ messages: [{ role: "assistant", tool_calls: "x" }] }, /in tool_calls of messages\[0\]/],
    [{ messages: pieces("text"), tools: "find" }, /text that is no JSON array in tools/],
    [
      { messages: pieces("text"), tools: 3 },
      /a number in tools, expected an array of JSON schemas/,
    ],
  ] as const)
    t.throws(() => parse(value), { message });
});
