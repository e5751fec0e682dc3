import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { demoFolder } from "../../scripts/demo/paths.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

type JsonObject = Record<string, unknown>;

const editJson = async (path: string, edit: (json: JsonObject) => void): Promise<void> => {
  const json = JSON.parse(await readFile(path, "utf8").catch(() => "{}")) as JsonObject;
  edit(json);
  await writeFile(path, JSON.stringify(json));
};

const added = ["<|im_start|>", "<|im_end|>"].map((content, i) => ({
  id: 1120 + i,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
}));

interface Setting {
  readonly folder: string;
  readonly model: string;
  /** Where the sets lie. */
  readonly data: string;
  /** Puts a text at the end of a row's field. */
  readonly addTo: (
    file: string,
    row: number,
    field: "instruction" | "output",
    text: string,
  ) => Promise<void>;
}

/** The demo, whose model has 1,120 embeddings, with a tokenizer that has two tokens more; 12 rows of ARC-Challenge. */
const prepare = async (t: ExecutionContext): Promise<Setting> => {
  const folder = await makeTempFolder(t);
  const model = join(folder, "model");
  await cp(demoFolder, model, { recursive: true, filter: (path) => !path.includes("llm_adapt") });
  await editJson(join(model, "tokenizer.json"), (json) => {
    json.added_tokens = [...(json.added_tokens as unknown[]), ...added];
  });
  const set = "llm_adapt/ARC-Challenge";
  for (const name of ["train.json", "test.json"]) {
    await cp(join(demoFolder, set, name), join(folder, set, name));
    const path = join(folder, set, name);
    const rows = JSON.parse(await readFile(path, "utf8")) as unknown[];
    await writeFile(path, JSON.stringify(rows.slice(0, 12)));
  }
  const addTo: Setting["addTo"] = async (file, row, field, text) => {
    const path = join(folder, set, file);
    const rows = JSON.parse(await readFile(path, "utf8")) as Record<string, string>[];
    const edited = rows[row];
    if (edited) edited[field] += text;
    await writeFile(path, JSON.stringify(rows));
  };
  return { folder, model, data: folder, addTo };
};

const train = ({ folder, model, data }: Setting, ...flags: readonly string[]) =>
  runHira(
    ...["--peft_type=hira", `--model=${model}`, "--dataset=arcc", `--data_dir=${data}`],
    ...["--r_ab=2", "--max_steps=1", "--batch=4", "--limit=4", "--eval_strategy=no"],
    ...[`--output_folder=${join(folder, "runs")}`, ...flags],
  );

/** Expects exit code 2, nothing written, no stack, and every pattern in the message. */
const refuses = async (
  t: ExecutionContext,
  { folder }: Setting,
  { code, err }: { readonly code: number; readonly err: string },
  ...patterns: readonly RegExp[]
): Promise<void> => {
  t.is(code, 2, err);
  for (const pattern of patterns) t.regex(err, pattern);
  t.notRegex(err, /\n\s+at /);
  t.deepEqual(await readdir(join(folder, "runs")).catch((): string[] => []), []);
};

test("tokens beyond the model's vocabulary in train, validation and test rows are all told before step 1 (9.9)", async (t) => {
  const setting = await prepare(t);
  t.is((await train(setting)).code, 0, "a tokenizer with more tokens than rows use is fine");
  const other = await prepare(t);
  await other.addTo("train.json", 3, "instruction", " <|im_start|>user<|im_start|><|im_end|>");
  await other.addTo("train.json", 7, "output", "<|im_end|>");
  await other.addTo("test.json", 1, "instruction", "<|im_start|>");
  await refuses(
    t,
    other,
    await train(other),
    /found 5 that it has no embedding for, expected ids from 0 to 1119$/m,
    /^ {2}\S+train\.json, row 4: "<\|im_start\|>" \(id 1120\) 2 times, "<\|im_end\|>" \(id 1121\)$/m,
    /^ {2}\S+train\.json, row 8: "<\|im_end\|>" \(id 1121\)$/m,
    /^ {2}\S+test\.json, row 2: "<\|im_start\|>" \(id 1120\)$/m,
    /resize_token_embeddings/,
  );
});

test("tokens beyond the vocabulary stop an evaluation before its first answer (9.9)", async (t) => {
  const setting = await prepare(t);
  for (const row of [0, 2, 3]) await setting.addTo("test.json", row, "instruction", "<|im_end|>");
  const { model, data } = setting;
  const ask = (limit: number) =>
    runHira(
      ...[`--ckpt=${model}`, "--dataset=arcc", `--data_dir=${data}`, `--limit=${String(limit)}`],
      ...["--beam_size=1", `--output_folder=${join(setting.folder, "answers")}`],
    );
  await refuses(t, setting, await ask(3), /found 2 that/, /test\.json, row 1: .*1121/, /row 3: /);
  t.false((await readdir(setting.folder)).includes("answers"));
});

const specials: readonly (readonly [file: string, field: string, id: unknown, found: RegExp])[] = [
  [
    "tokenizer_config.json",
    "pad_token",
    "<|im_end|>",
    /pad_token of the tokenizer: "<\|im_end\|>" \(id 1121\)/,
  ],
  [
    "tokenizer_config.json",
    "bos_token",
    "<|im_start|>",
    /found 1 that.*\n {2}bos_token of the tokenizer: "<\|im_start\|>" \(id 1120\)\n/,
  ],
  ["tokenizer_config.json", "eos_token", "<|im_end|>", /eos_token of the tokenizer/],
  ["config.json", "pad_token_id", 1120, /pad_token_id of config\.json: "<\|im_start\|>"/],
  ["config.json", "eos_token_id", [2, 5000], /eos_token_id of config\.json: the token id 5000/],
  ["generation_config.json", "eos_token_id", 1121, /eos_token_id of generation_config\.json/],
  ["generation_config.json", "bos_token_id", 1121, /bos_token_id of generation_config\.json/],
  ["config.json", "pad_token_id", 2.5, /"pad_token_id": found 2\.5, expected a token id/],
  ["generation_config.json", "pad_token_id", -7, /"pad_token_id": found -7, expected a token id/],
];
for (const [file, field, id, found] of specials)
  test(`${field} ${JSON.stringify(id)} in ${file} is told before the model runs (9.9)`, async (t) => {
    const setting = await prepare(t);
    const { folder, model, data } = setting;
    await editJson(join(model, file), (json) => {
      json[field] = id;
    });
    await refuses(t, setting, await train(setting), found);
    const evaluation = [`--ckpt=${model}`, "--dataset=arcc", `--data_dir=${data}`, "--limit=1"];
    await refuses(t, setting, await runHira(...evaluation), found);
    const prompts = join(folder, "prompts.jsonl");
    await writeFile(prompts, '{"prompt": "does"}\n{"prompt": "does the"}\n');
    const files = [`--input=${prompts}`, `--out=${join(folder, "out.jsonl")}`];
    await refuses(t, setting, await runHira("generate", `--model=${model}`, ...files), found);
  });

test("rows of token ids beyond the vocabulary are told with line, token and id, in every command (9.9)", async (t) => {
  const setting = await prepare(t);
  const { folder, model } = setting;
  const rows = join(folder, "rows.jsonl");
  await writeFile(
    rows,
    [
      { input_ids: [1, 5, 6], labels: [-100, 5, 6] },
      { input_ids: [1, 1120, 5000, 1121], labels: [-100, 5, 6, 7] },
      { input_ids: [1, 5], labels: [-100, 1121] },
      { input_ids: [1, -1], labels: [-100, 5] },
      { input_ids: [1, 2.5], labels: [-100, 5] },
    ]
      .map((row) => JSON.stringify(row))
      .join("\n"),
  );
  const found = [
    /line 2: found "<\|im_start\|>" \(id 1120\) in input_ids\[1\] and 2 more, expected a whole number from 0 below 1120/,
    /line 4: found -1 in input_ids\[1\], expected/,
    /line 5: found 2\.5 in input_ids\[1\], expected/,
  ];
  const label = /line 3: found "<\|im_end\|>" \(id 1121\) in labels\[1\], expected -100 or/;
  const ofModel = [`--model=${model}`, `--input=${rows}`];
  const trained = await runHira(
    ...["--peft_type=hira", `--model=${model}`, `--dataset=${rows}`, "--eval_strategy=no"],
    `--output_folder=${join(folder, "runs")}`,
  );
  await refuses(t, setting, trained, ...found, label);
  const forward = await runHira("forward", ...ofModel, `--out=${folder}/out.safetensors`);
  await refuses(t, setting, forward, ...found, label);
  const generated = await runHira("generate", ...ofModel, `--out=${folder}/out.jsonl`);
  await refuses(t, setting, generated, ...found);
});

test("prompts with tokens beyond the vocabulary are told with line, token and id (9.9)", async (t) => {
  const setting = await prepare(t);
  const { folder, model } = setting;
  const prompts = join(folder, "prompts.jsonl");
  await writeFile(
    prompts,
    '{"prompt": "does"}\n{"prompt": "<|im_start|>user"}\n{"prompt": "a<|im_end|>b<|im_end|>"}\n',
  );
  const files = [`--input=${prompts}`, `--out=${join(folder, "out.jsonl")}`];
  await refuses(
    t,
    setting,
    await runHira("generate", `--model=${model}`, ...files),
    /line 2: found "<\|im_start\|>" \(id 1120\) in prompt/,
    /line 3: found "<\|im_end\|>" \(id 1121\) 2 times in prompt/,
  );
  const start = ["--peft_type=prompt-tuning", "--prompt_init_text=<|im_start|>system"];
  await refuses(
    t,
    setting,
    await train(setting, ...start),
    /--prompt_init_text="<\|im_start\|>system": found "<\|im_start\|>" \(id 1120\), which/,
  );
});
