import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { forwardLogits } from "../support/forward-logits.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

const demo = fileURLToPath(new URL("../../data_file/demo", import.meta.url));

/** Adapters that scripts/reference/peft_vocabulary.py made with the peft package. */
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/peft-vocabulary/${name}`, import.meta.url));

const reference = JSON.parse(readFileSync(fixture("logits.json"), "utf8")) as {
  readonly input_ids: Readonly<Record<string, readonly number[]>>;
  readonly logits: Readonly<Record<string, readonly number[]>>;
};

const baseOf = (name: string): string => peftFixture(name.endsWith("-tied") ? "base-tied" : "base");
const rowsOf = (name: string): number =>
  name.startsWith("grown") ? 19 : name.startsWith("shrunk") ? 13 : 16;
const idsOf = (name: string): readonly number[] => reference.input_ids[String(rowsOf(name))] ?? [];
const flagsOf = (name: string): readonly string[] => [
  `--ckpt=${fixture(name)}`,
  `--model=${baseOf(name)}`,
];

for (const [name, expected] of Object.entries(reference.logits)) {
  test(`an adapter that carries embedding and head has peft's logits: ${name} (9.19${name.includes("targets") ? ", 9.20" : ""})`, async (t) => {
    const { logits } = await forwardLogits(t, idsOf(name), ...flagsOf(name));
    t.is(logits.length, 6 * rowsOf(name));
    t.true(largestDifference(logits, expected) < 1e-4);
  });

  if (name === "grown-prompt") continue;
  test(`merging takes them, and its config.json says vocab_size: ${name} (9.19${name.includes("targets") ? ", 9.20" : ""})`, async (t) => {
    const folder = await makeTempFolder(t);
    const [merged, back] = [join(folder, "merged"), join(folder, "back")];
    const { code, out, err } = await runHira("merge", ...flagsOf(name), `--out=${merged}`);
    t.is(code, 0, err);
    t.regex(out, /at 256 of 256 positions/);
    const model = await loadModelFolder(merged);
    t.is(model.rawConfig.vocab_size, rowsOf(name));
    // One table where head and embedding are the same, two where they are not.
    const apart = /^grown-saved-tied|targets/.test(name) || !name.endsWith("-tied");
    t.is(model.model.tieWordEmbeddings, !apart);
    t.is(model.weights.has("lm_head.weight"), apart);
    t.deepEqual(model.warnings, []);
    const { logits } = await forwardLogits(t, idsOf(name), `--model=${merged}`);
    t.true(largestDifference(logits, expected) < 1e-4);

    const again = await runHira(
      ...["merge", ...flagsOf(name), `--unmerge=${merged}`, `--out=${back}`],
    );
    t.is(again.code, 0, again.err);
    for (const file of await readdir(baseOf(name)))
      t.deepEqual(await readFile(join(back, file)), await readFile(join(baseOf(name), file)));
  });
}

test("it says whose embedding and head count, and of how many tokens (9.19)", async (t) => {
  const folder = await makeTempFolder(t);
  const input = join(folder, "rows.jsonl");
  await writeFile(input, JSON.stringify({ input_ids: idsOf("grown"), labels: idsOf("grown") }));
  const files = [`--input=${input}`, `--out=${join(folder, "out.safetensors")}`];
  const { out } = await runHira("forward", ...files, ...flagsOf("grown"));
  t.regex(
    out,
    /grown was made for a vocabulary of 19 tokens, where .*base has 16: its own embedding and head count/,
  );
  const plain = await runHira(
    ...["forward", ...files, `--ckpt=${peftFixture("lora")}`, `--model=${peftFixture("base")}`],
  );
  t.is(plain.code, 2);
});

test("its new tokens are generated, and prompts may hold them (9.19)", async (t) => {
  const folder = await makeTempFolder(t);
  const input = join(folder, "prompts.jsonl");
  await writeFile(input, `${JSON.stringify({ input_ids: [1, 17, 18] })}\n`);
  const answers = [];
  const merged = join(folder, "merged");
  t.is((await runHira("merge", ...flagsOf("grown"), `--out=${merged}`)).code, 0);
  for (const model of [flagsOf("grown"), [`--model=${merged}`]]) {
    const out = join(folder, `${String(answers.length)}.jsonl`);
    const files = [`--input=${input}`, `--out=${out}`];
    const { code, err } = await runHira("generate", ...model, ...files, "--max_new_tokens=6");
    t.is(code, 0, err);
    answers.push(await readFile(out, "utf8"));
  }
  t.is(answers[0], answers[1]);
  t.regex(answers[0] ?? "", /"new_tokens": ?\[/);
});

test("on the base that was resized already it has the same logits (9.19)", async (t) => {
  const merged = join(await makeTempFolder(t), "resized");
  t.is((await runHira("merge", ...flagsOf("grown-tied"), `--out=${merged}`)).code, 0);
  const flags = [`--ckpt=${fixture("grown-tied")}`, `--model=${merged}`];
  const [first, again] = [
    await forwardLogits(t, idsOf("grown"), ...flags),
    await forwardLogits(t, idsOf("grown"), ...flags),
  ];
  t.deepEqual(first.logits, again.logits);
  t.is(first.logits.length, 6 * 19);
});

test("rows that are nowhere, and tables of two vocabularies, are refused by name (9.19)", async (t) => {
  const out = join(await makeTempFolder(t), "merged");
  const lost = await runHira("merge", ...flagsOf("grown-saved-lost-tied"), `--out=${out}`);
  t.is(lost.code, 2);
  t.regex(
    lost.err,
    /found a vocabulary of 19 tokens in place of 16, and no embedding of so many rows/,
  );
  t.regex(lost.err, /save_embedding_layers=True/);

  const folder = join(await makeTempFolder(t), "odd");
  await cp(fixture("grown"), folder, { recursive: true });
  const path = join(folder, "adapter_model.safetensors");
  const { entries } = await readSafetensorsHeader(path);
  const tensors = [...entries.values()].map(async ({ name, ...entry }) => {
    const data = await readTensorAsFloat32({ name, ...entry });
    return name.includes("lm_head")
      ? { name, dtype: "float32" as const, shape: [18, 8], data: data.slice(0, 144) }
      : { name, dtype: "float32" as const, shape: entry.shape, data };
  });
  await writeSafetensors(path, await Promise.all(tensors));
  const odd = await runHira(
    ...["merge", `--ckpt=${folder}`, `--model=${peftFixture("base")}`, `--out=${out}`],
  );
  t.is(odd.code, 2);
  t.regex(odd.err, /found \[1[89], 8\], expected \[1[89], 8\]/);
});

test("merging rounds the adapter's tables to the base's dtype (9.19)", async (t) => {
  const folder = await makeTempFolder(t);
  const [half, merged] = [join(folder, "half"), join(folder, "merged")];
  const { rawConfig, weights } = await loadModelFolder(peftFixture("base-tied"));
  await writeModelFolder({
    path: half,
    rawConfig,
    tensors: [...weights.values()].map((entry) => ({
      ...entry,
      data: () => readTensorAsFloat32(entry),
    })),
    dtype: "bfloat16",
  });
  const flags = [`--ckpt=${fixture("grown-saved-tied")}`, `--model=${half}`];
  const { code, out, err } = await runHira("merge", ...flags, `--out=${merged}`);
  t.is(code, 0, err);
  t.regex(out, /The vocabulary is the adapter's: config.json says vocab_size 19, the base's 16/);
  const model = await loadModelFolder(merged);
  t.deepEqual(
    new Set([...model.weights.values()].map(({ dtype }) => dtype)),
    new Set(["bfloat16"]),
  );
  const [a, b] = [
    await forwardLogits(t, idsOf("grown"), `--model=${merged}`),
    await forwardLogits(t, idsOf("grown"), ...flags),
  ];
  const difference = largestDifference(a.logits, b.logits);
  t.true(difference > 0 && difference < 0.5, String(difference));
});

test("training on from it asks for the merged model, on which it goes on (9.19)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const init = `--adapter_init=${join(fixture("grown"), "adapter_model.safetensors")}`;
  const flags = ["--peft_type=lora", "--target_modules=q_proj,v_proj", init];
  const refused = await runHira(...tinyRunFlags(rows), ...flags);
  t.is(refused.code, 2);
  t.regex(refused.err, /embed_tokens\.weight": found \[19, 8\], the embedding or head that/);
  t.regex(refused.err, /hira merge --ckpt=ADAPTER --model=BASE --out=MERGED/);

  const merged = join(folder, "merged");
  t.is((await runHira("merge", ...flagsOf("grown"), `--out=${merged}`)).code, 0);
  const onMerged = tinyRunFlags(rows).map((flag) =>
    flag.startsWith("--model=") ? `--model=${merged}` : flag,
  );
  await trainTiny(t, join(folder, "runs"), ...onMerged, ...flags);
});

/** An adapter of the demo model as a trainer leaves it: one more token, its embedding, and the tokenizer that has it. */
const makeDemoAdapter = async (t: ExecutionContext): Promise<string> => {
  const folder = await makeTempFolder(t);
  const { weights, model } = await loadModelFolder(demo);
  const entry = weights.get("model.embed_tokens.weight");
  if (!entry) throw new RangeError("the demo model has no embedding");
  const old = await readTensorAsFloat32(entry);
  const table = new Float32Array(old.length + model.hiddenSize);
  table.set(old);
  // Twice as likely as what the model says after "does the", so that it says the new token.
  const favourite = old.subarray(989 * model.hiddenSize, 990 * model.hiddenSize);
  table.set(
    favourite.map((x) => 2 * x),
    old.length,
  );
  const query = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
  const tensor = (name: string, shape: readonly number[], data: Float32Array) => ({
    ...{ name, shape, data },
    dtype: "float32" as const,
  });
  await writeSafetensors(join(folder, "adapter_model.safetensors"), [
    tensor(`${query}A.weight`, [1, 128], new Float32Array(128)),
    tensor(`${query}B.weight`, [128, 1], new Float32Array(128)),
    tensor("base_model.model.model.embed_tokens.weight", [1121, 128], table),
    tensor("base_model.model.lm_head.weight", [1121, 128], table),
  ]);
  const adapterConfig = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: demo },
    ...{ r: 1, lora_alpha: 1, target_modules: ["q_proj"], layers_to_transform: [0] },
  };
  await writeFile(join(folder, "adapter_config.json"), JSON.stringify(adapterConfig));
  const tokenizer = JSON.parse(await readFile(join(demo, "tokenizer.json"), "utf8")) as {
    readonly added_tokens: readonly object[];
  };
  const added = { ...tokenizer.added_tokens[0], id: 1120, content: "<maybe>", special: false };
  const grown = { ...tokenizer, added_tokens: [...tokenizer.added_tokens, added] };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(grown));
  await cp(join(demo, "tokenizer_config.json"), join(folder, "tokenizer_config.json"));
  return folder;
};

test("the tokenizer beside such an adapter counts, also in the merged model (9.19)", async (t) => {
  const adapter = await makeDemoAdapter(t);
  const folder = await makeTempFolder(t);
  const [merged, input] = [join(folder, "merged"), join(folder, "prompts.jsonl")];
  const prompts = [{ prompt: "does the" }, { prompt: "does the<maybe>" }];
  await writeFile(input, prompts.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const merging = await runHira("merge", `--ckpt=${adapter}`, `--out=${merged}`);
  t.is(merging.code, 0, merging.err);
  for (const name of ["tokenizer.json", "tokenizer_config.json"])
    t.deepEqual(await readFile(join(merged, name)), await readFile(join(adapter, name)));

  for (const flags of [[`--ckpt=${adapter}`], [`--model=${merged}`]]) {
    const out = join(folder, `${String(flags[0]?.length)}.jsonl`);
    const {
      code,
      out: text,
      err,
    } = await runHira(
      ...["generate", ...flags, `--input=${input}`, `--out=${out}`, "--max_new_tokens=1"],
    );
    t.is(code, 0, err);
    t.is(text.includes(`Using the tokenizer of ${adapter}`), flags.includes(`--ckpt=${adapter}`));
    const [first = "", second = ""] = (await readFile(out, "utf8")).split("\n");
    t.like(JSON.parse(first), { new_tokens: [1120] });
    t.regex(first, /<maybe>/);
    t.not(second, "");
  }
});

test("--ckpt of such an adapter answers a data set with its tokenizer (9.19)", async (t) => {
  const adapter = await makeDemoAdapter(t);
  const flags = ["--dataset=boolq", `--data_dir=${demo}`, "--limit=2", "--batch=8"];
  const { code, out, err } = await runHira("train", `--ckpt=${adapter}`, ...flags);
  t.is(code, 0, err);
  t.regex(out, /Using the tokenizer of/);
});
