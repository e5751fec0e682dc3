import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { ModelEngine } from "../../src/decode/engine.js";
import { generate } from "../../src/decode/generate.js";
import { followGenerationConfig } from "../../src/decode/generation-settings.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { readGenerationConfig } from "../../src/models/generation-config.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const FIXTURES = "test/fixtures/decode";
const TINY = `${FIXTURES}/tiny-llama`;
const PAD = 3;

type Fields = Readonly<Record<string, unknown>>;

interface FolderCase {
  readonly file: Fields | null;
  /** Fields of config.json besides the model's own. */
  readonly config?: Fields;
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask?: readonly (readonly number[])[];
  readonly new_tokens: readonly (readonly number[])[];
  readonly sequences_scores?: readonly number[];
}

interface StopCase {
  readonly prompt: string;
  readonly num_beams: number;
  readonly stop_strings: string | readonly string[];
  readonly new_tokens: readonly number[];
}

const readCases = async <T>(name: string): Promise<readonly T[]> => {
  const text = await readFile(join(FIXTURES, name), "utf8");
  return (JSON.parse(text) as { cases: readonly T[] }).cases;
};

interface Line {
  readonly new_tokens: readonly number[];
  readonly score: number;
  readonly stopped_by: string;
}

interface Generated {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly lines: readonly Line[];
}

/** A copy of a model's folder with these fields, and `hira generate` on it. */
const generateFrom = async (
  t: ExecutionContext,
  {
    model = TINY,
    file,
    config,
    rows,
    flags = [],
  }: {
    readonly model?: string;
    readonly file: Fields | null;
    readonly config?: Fields | undefined;
    readonly rows: readonly object[];
    readonly flags?: readonly string[];
  },
): Promise<Generated> => {
  const folder = await makeTempFolder(t);
  await cp(model, folder, { recursive: true });
  const configPath = join(folder, "config.json");
  const known = JSON.parse(await readFile(configPath, "utf8")) as Fields;
  await writeFile(configPath, JSON.stringify({ ...known, ...config }));
  if (file) await writeFile(join(folder, "generation_config.json"), JSON.stringify(file));
  const [input, out] = [join(folder, "in.jsonl"), join(folder, "out.jsonl")];
  await writeFile(input, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const ran = await runHira(
    ...["generate", `--model=${folder}`, `--input=${input}`, `--out=${out}`, ...flags],
  );
  const text = ran.code === 0 ? await readFile(out, "utf8") : "";
  const lines = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);
  return { ...ran, lines };
};

const rowsOf = ({ input_ids, attention_mask }: FolderCase): readonly object[] =>
  input_ids.map((ids, i) => ({
    input_ids: ids,
    ...(attention_mask && { attention_mask: attention_mask[i] }),
  }));

/** The tokens as transformers writes them: filled with padding to a length. */
const padded = (tokens: readonly number[], length: number): readonly number[] => [
  ...tokens,
  ...Array.from({ length: length - tokens.length }, () => PAD),
];

const checkCase = (t: ExecutionContext, stored: FolderCase, found: readonly Line[]): void => {
  const name = JSON.stringify(stored);
  const columns = stored.new_tokens[0]!.length;
  t.deepEqual(
    found.map(({ new_tokens: tokens }) => padded(tokens, columns)),
    stored.new_tokens,
    name,
  );
  stored.sequences_scores?.forEach((score, i) => {
    t.true(Math.abs(found[i]!.score - score) < 1e-4, name);
  });
};

test("decoding as generation_config.json says gives transformers' tokens and scores (9.5)", async (t) => {
  const { model, weights: entries } = await loadModelFolder(TINY);
  const weights = await openFrozenWeights(entries, { storage: "float32" });
  const engine = await ModelEngine.create({ model, weights, maxPositions: 64, plan: cpuPlan(1) });
  const cases = await readCases<FolderCase>("generation_cases.json");
  t.true(cases.length >= 100);
  for (const stored of cases) {
    const file = readGenerationConfig(stored.file ?? {}, "generation_config.json");
    const eosIds = [stored.file?.eos_token_id].flat() as number[];
    const { settings } = followGenerationConfig(
      { ...defaultDecodeSettings, eosIds, padId: PAD },
      file,
      { given: new Set(), vocabularySize: model.vocabSize },
    );
    const prompts = stored.input_ids.map((ids, i) => {
      const paddingColumns = stored.attention_mask?.[i]?.indexOf(1) ?? 0;
      return { ids: ids.slice(paddingColumns), paddingColumns };
    });
    const found = await generate({ engine, prompts, settings, batch: 4 });
    const lines = found.flat().map(({ tokens, score, stoppedBy }) => ({
      ...{ new_tokens: tokens, score, stopped_by: stoppedBy },
    }));
    checkCase(t, stored, lines);
  }
  engine.dispose();
});

test("hira generate decodes as the model's generation_config.json says, and names what it has taken from it (9.5)", async (t) => {
  const cases = await readCases<FolderCase>("generation_cases.json");
  for (const stored of cases.filter((_, i) => i % 16 === 5)) {
    const { code, err, out, lines } = await generateFrom(t, {
      file: stored.file,
      rows: rowsOf(stored),
    });
    t.is(code, 0, err);
    t.regex(out, /Decoding as .*generation_config\.json says: .*max_(new_tokens|length) \d+/);
    checkCase(t, stored, lines);
  }
});

test("hira generate takes config.json's fields where there is no generation_config.json, as transformers does (9.5)", async (t) => {
  for (const stored of await readCases<FolderCase>("folder_cases.json")) {
    const { file, config } = stored;
    const { code, err, out, lines } = await generateFrom(t, { file, config, rows: rowsOf(stored) });
    t.is(code, 0, err);
    t.true(out.includes(`${file ? "generation_" : ""}config.json says:`), out);
    checkCase(t, stored, lines);
  }
});

test("hira generate stops at stop_strings where transformers does (9.5)", async (t) => {
  const cases = await readCases<StopCase>("stop_cases.json");
  const groups = new Map<string, StopCase[]>();
  for (const stored of cases) {
    const key = JSON.stringify([stored.num_beams, stored.stop_strings]);
    groups.set(key, [...(groups.get(key) ?? []), stored]);
  }
  for (const group of groups.values()) {
    const { num_beams, stop_strings } = group[0]!;
    const file = { eos_token_id: 2, pad_token_id: 3, max_new_tokens: 16, num_beams, stop_strings };
    const rows = group.map(({ prompt }) => ({ prompt }));
    const { code, err, lines } = await generateFrom(t, { model: "data_file/demo", file, rows });
    t.is(code, 0, err);
    t.deepEqual(
      lines.map(({ new_tokens: tokens }) => tokens),
      group.map(({ new_tokens: tokens }) => tokens),
      JSON.stringify(group),
    );
  }
});

const rows = [{ input_ids: [20, 30, 31] }];

test("hira generate lets typed flags stand over generation_config.json (9.5)", async (t) => {
  const file = { max_new_tokens: 9, num_beams: 3, no_repeat_ngram_size: 1, do_sample: true };
  const typed = ["--max_new_tokens=4", "--beam_size=1", "--no_repeat=0", "--do_sample=no"];
  const found = await generateFrom(t, { file, rows, flags: typed });
  const plain = await generateFrom(t, { file: null, rows, flags: typed });
  t.deepEqual(found.lines, plain.lines);
  t.notRegex(found.out, /Decoding as/);
});

test("hira generate draws where generation_config.json says so, as with the same flags (9.5)", async (t) => {
  const file = { do_sample: true, temperature: 0.7, top_p: 0.9, max_new_tokens: 8 };
  const found = await generateFrom(t, { file, rows, flags: ["--seed=4"] });
  t.regex(found.out, /says: .*do_sample true, .*temperature 0\.7, top_p 0\.9/);
  const flags = ["--do_sample=yes", "--temperature=0.7", "--top_p=0.9", "--top_k=50"];
  const same = await generateFrom(t, {
    file: null,
    rows,
    flags: [...flags, "--max_new_tokens=8", "--seed=4"],
  });
  t.deepEqual(found.lines, same.lines);
});

test("hira generate reads sampling's flags where generation_config.json draws, and beams' where it has beams (9.5)", async (t) => {
  const drawn = { do_sample: true, temperature: 0.7, max_new_tokens: 8 };
  const typed = ["--temperature=1.4", "--top_k=30", "--top_p=0.95", "--seed=4"];
  const found = await generateFrom(t, { file: drawn, rows, flags: typed });
  t.deepEqual([found.code, found.err], [0, ""]);
  const flags = [...typed, "--do_sample=yes", "--max_new_tokens=8"];
  t.deepEqual(found.lines, (await generateFrom(t, { file: null, rows, flags })).lines);

  const beams = { num_beams: 4, length_penalty: 2, max_new_tokens: 8 };
  const stops = ["--early_stopping=true", "--length_penalty=1"];
  const searched = await generateFrom(t, { file: beams, rows, flags: stops });
  t.deepEqual([searched.code, searched.err], [0, ""]);
  const same = [...stops, "--beam_size=4", "--max_new_tokens=8"];
  t.deepEqual(searched.lines, (await generateFrom(t, { file: null, rows, flags: same })).lines);
});

test("hira generate names flags of sampling and of beams that neither line nor generation_config.json asks for (9.2)", async (t) => {
  for (const file of [null, { repetition_penalty: 1.1 }, { do_sample: false, num_beams: 1 }]) {
    const flags = ["--temperature=1.4", "--top_k=30", "--early_stopping=true", "--seed=4"];
    const { code, err } = await generateFrom(t, { file, rows, flags });
    t.is(code, 2);
    t.regex(
      err,
      /Cannot use --temperature, --top_k \(without --do_sample=yes\), --early_stopping \(without --beam_size above 1\): found/,
    );
    const seeded = await generateFrom(t, { file, rows, flags: ["--seed=4"] });
    t.is(seeded.code, 0);
    t.regex(seeded.err, /^warning: Without effect here: --seed \(without --do_sample=yes\)\n$/);
  }
});

test("hira generate returns as many sequences as generation_config.json has beams for (9.5)", async (t) => {
  const beams = { num_beams: 4, max_new_tokens: 3 };
  const flags = ["--num_return_sequences=3"];
  t.is((await generateFrom(t, { file: beams, rows, flags })).lines.length, 3);
  const { code, err } = await generateFrom(t, { file: { ...beams, num_beams: 2 }, rows, flags });
  t.is(code, 2);
  t.regex(err, /--num_return_sequences: found 3, expected at most the 2 of --beam_size/);
  const own = await generateFrom(t, { file: { ...beams, num_return_sequences: 5 }, rows });
  t.is(own.code, 2);
  t.regex(
    own.err,
    /generation_config\.json says: "num_return_sequences": found 5, expected at most 4/,
  );
});

test("hira generate names in one line what generation_config.json asks for and is not done (9.5)", async (t) => {
  const file = {
    ...{ max_new_tokens: 3, watermarking_config: { bias: 2.5 }, guidance_scale: 1.5 },
    ...{ num_beam_groups: 2, use_cache: true },
  };
  const { code, err, lines } = await generateFrom(t, { file, rows });
  t.is(code, 0);
  t.is(lines.length, 1);
  const warnings = err.split("\n").filter((line) => line.includes("generation_config.json"));
  t.is(warnings.length, 1, err);
  t.regex(warnings[0]!, /is not done here: watermarking_config, guidance_scale;/);
});

test("hira generate refuses a field of a wrong type, out of its range, or without room, with the file and the field (9.5)", async (t) => {
  const cases: readonly (readonly [Fields, RegExp])[] = [
    [
      { repetition_penalty: "1.2" },
      /generation_config\.json: "repetition_penalty": found "1\.2", expected a number/,
    ],
    [
      { repetition_penalty: -1 },
      /generation_config\.json says: "repetition_penalty": found -1, expected/,
    ],
    [
      { bad_words_ids: [[96]] },
      /generation_config\.json says: "bad_words_ids": found \[\[96\]\], expected/,
    ],
    [{ max_length: 3 }, /row 1: found 3 tokens, expected fewer than the 3 of max_length/],
    [{ stop_strings: ["a"] }, /generation_config\.json says: found stop_strings and no tokenizer/],
  ];
  for (const [file, message] of cases) {
    const { code, err } = await generateFrom(t, { file, rows });
    t.is(code, 2);
    t.regex(err, message);
    t.notRegex(err, /\n\s+at /);
  }
});

test("hira train looks at generation_config.json before it trains, and says what the answers will follow (9.5)", async (t) => {
  const folder = await makeTempFolder(t);
  const model = join(folder, "model");
  await cp("data_file/demo", model, { recursive: true });
  const flags = [
    ...["--peft_type=hira", `--model=${model}`, "--dataset=boolq", "--data_dir=data_file/demo"],
    ...["--r_ab=2", "--batch=2", "--max_steps=1", "--eval_strategy=no", "--limit=2"],
    ...["--max_new_tokens=2", `--output_folder=${join(folder, "runs")}`],
  ];
  const path = join(model, "generation_config.json");
  await writeFile(path, JSON.stringify({ repetition_penalty: -2 }));
  const refused = await runHira(...flags);
  t.is(refused.code, 2);
  t.regex(refused.err, /"repetition_penalty": found -2, expected a number above 0/);
  t.notRegex(refused.out, /Run folder/);
  await writeFile(path, JSON.stringify({ repetition_penalty: 1.3, watermarking_config: {} }));
  const { code, out, err } = await runHira(...flags);
  t.is(code, 0, err);
  t.is(out.match(/Decoding as/g)?.length, 1, out);
  t.is(err.match(/watermarking_config/g)?.length, 1, err);
});

test("full fine-tuning with --compat=text decodes as if there were no generation_config.json (9.5)", async (t) => {
  const folder = await makeTempFolder(t);
  const model = join(folder, "model");
  await cp("data_file/demo", model, { recursive: true });
  await writeFile(
    join(model, "generation_config.json"),
    JSON.stringify({ repetition_penalty: 1.3, eos_token_id: 2 }),
  );
  for (const compat of [[], ["--compat=text"]]) {
    const { code, out, err } = await runHira(
      ...["--peft_type=fft", `--model=${model}`, "--dataset=boolq", "--data_dir=data_file/demo"],
      ...["--batch=2", "--max_steps=1", "--eval_strategy=no", "--limit=2", "--max_new_tokens=2"],
      ...[`--output_folder=${join(folder, "runs")}`, ...compat],
    );
    t.is(code, 0, err);
    t.is(/Decoding as/.test(out), compat.length === 0, out);
  }
});
