import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import test from "ava";
import { noLoss } from "../../src/datasets/encoded-rows.js";
import { encodeOwnRows } from "../../src/datasets/own-encode.js";
import { parseOwnRows } from "../../src/datasets/own-rows.js";
import {
  chatMl,
  chatTemplateOf,
  makeChatTemplate,
  type ChatTemplate,
} from "../../src/tokenizer/chat-template.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
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

const encode = async (tokenizer: Tokenizer, chat: ChatTemplate) => {
  const { rows } = parseOwnRows(file);
  const encoded = await encodeOwnRows(file, rows, {
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
    const sha256 = createHash("sha256")
      .update(JSON.stringify([...ids]))
      .digest("hex");
    return { tokens: ids.length, sha256, spans };
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
        await encode(tokenizer, template),
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
  const chat = makeChatTemplate(template, plain, "t").render([
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Yes." },
  ]);
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
