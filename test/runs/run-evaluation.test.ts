import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { evaluationFileName } from "../../src/runs/evaluation-files.js";
import { runEvaluation, type EvaluationRunOptions } from "../../src/runs/run-evaluation.js";
import type { OutputFile } from "../../src/report/output-jsonl.js";
import type { ProgressUi } from "../../src/report/progress.js";
import { InterruptedError, InterruptSignal } from "../../src/train/interrupt.js";
import { makeTempFolder } from "../support/temp-folder.js";

const names: readonly [Parameters<typeof evaluationFileName>[0], string][] = [
  [{ loadOrder: -1, maxNewTokens: undefined, beamSize: undefined }, "output_-1_boolq_eval.jsonl"],
  [{ loadOrder: -1, maxNewTokens: undefined, beamSize: 4 }, "output_-1_boolq_beam=4_eval.jsonl"],
  [{ loadOrder: 0, maxNewTokens: 8, beamSize: undefined }, "output_0_boolq_maxT=8_eval.jsonl"],
  [{ loadOrder: 2, maxNewTokens: 8, beamSize: 1 }, "output_2_boolq_maxT=8_beam=1_eval.jsonl"],
  [
    { loadOrder: -1, maxNewTokens: undefined, beamSize: 4, useInput: true },
    "output_-1_boolq_beam=4_input_eval.jsonl",
  ],
];
for (const [options, name] of names)
  test(`evaluationFileName makes ${name}`, (t) => {
    t.is(evaluationFileName(options, "boolq"), name);
  });

/** A tokenizer of the fixture model's 16 tokens: single letters, what else there is is unknown. */
const tokenizerJson = {
  version: "1.0",
  added_tokens: ["<unk>", "<s>", "</s>", "<pad>"].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: {
    type: "BPE",
    unk_token: "<unk>",
    fuse_unk: true,
    byte_fallback: false,
    vocab: Object.fromEntries(
      ["<unk>", "<s>", "</s>", "<pad>", ..."truefalsynoh"].map((token, id) => [token, id]),
    ),
    merges: [],
  },
};

interface Surroundings {
  readonly options: EvaluationRunOptions;
  readonly ckpt: string;
  readonly lines: string[];
  readonly run: (changes?: Partial<EvaluationRunOptions>) => Promise<void>;
  readonly interrupt: InterruptSignal;
}

/** The fixtures' base model with a tokenizer, its HiRA adapter, and three rows for each of two sets. */
const prepare = async (t: ExecutionContext): Promise<Surroundings> => {
  const folder = await makeTempFolder(t);
  const [model, ckpt, data] = ["model", "adapter", "data"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await cp("test/fixtures/peft/base", model, { recursive: true });
  await cp("test/fixtures/peft/hira", ckpt, { recursive: true });
  await writeFile(join(model, "tokenizer.json"), JSON.stringify(tokenizerJson));
  await writeFile(
    join(model, "tokenizer_config.json"),
    JSON.stringify({
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      pad_token: "<pad>",
      unk_token: "<unk>",
    }),
  );
  const rows = ["true", "false", "true"].map((output, i) => ({
    instruction: `Is it so, the ${String(i)}th time?`,
    input: "",
    output,
  }));
  for (const set of ["boolq", "piqa"]) {
    await mkdir(join(data, "llm_adapt", set), { recursive: true });
    await writeFile(join(data, "llm_adapt", set, "test.json"), JSON.stringify(rows));
  }
  const lines: string[] = [];
  const work = { advance: () => undefined, done: () => undefined };
  const ui: ProgressUi = {
    training: () => ({
      step: work.done,
      validating: work.done,
      evaluation: work.done,
      done: work.done,
    }),
    decoding: () => work,
    line: (text) => void lines.push(text),
    warn: (text) => void lines.push(`warning: ${text}`),
  };
  const options: EvaluationRunOptions = {
    ckpt,
    outputFolder: join(folder, "results"),
    outputFolderIsAsked: false,
    outputFile: undefined,
    loadOrder: -1,
    modelName: model,
    loadBit: 16,
    quantType: "nf4",
    doubleQuant: true,
    dataset: "boolq",
    computeRank: false,
    computeNorm: false,
    batch: 8,
    beamSize: 2,
    maxNewTokens: 4,
    doSample: false,
    decoding: "default",
    temperature: 0.1,
    topK: 40,
    topP: 0.75,
    seed: undefined,
    limit: undefined,
    dataDir: data,
    useInput: false,
    datasetRatio: 1,
    numWorkers: 0,
    threads: 1,
    compat: new Set(),
  };
  const interrupt = new InterruptSignal();
  const run = async (changes: Partial<EvaluationRunOptions> = {}): Promise<void> => {
    await runEvaluation(
      { ...options, ...changes },
      (replaced) => replaced as OutputFile["flags"],
      ui,
      interrupt,
    );
  };
  return { options, ckpt, lines, run, interrupt };
};

const readLines = async (path: string): Promise<readonly Record<string, unknown>[]> =>
  (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const boolqFile = "output_-1_boolq_maxT=4_beam=2_eval.jsonl";

test("runEvaluation answers the test rows in the file's order, after four lines of what was asked", async (t) => {
  const { run, ckpt, options } = await prepare(t);
  await run();
  const [flags, config, summary, parameters, ...rows] = await readLines(join(ckpt, boolqFile));
  t.deepEqual(flags, { peft_type: "hira", model_name: options.modelName });
  t.is(config?.base_model_name_or_path, options.modelName);
  t.is(summary?.train_seconds, -1);
  t.true(Number(parameters?.trainable) > 0);
  t.deepEqual(
    rows.map(({ context, gt }) => [context, gt]),
    ["true", "false", "true"].map((gt, i) => [`Is it so, the ${String(i)}th time?`, gt]),
  );
  for (const { pred } of rows) t.is(typeof pred, "string");
});

test("runEvaluation answers with the base that was named, whatever the adapter's config says (9.1)", async (t) => {
  const { run, ckpt, options } = await prepare(t);
  const config = join(ckpt, "adapter_config.json");
  const json = JSON.parse(await readFile(config, "utf8")) as object;
  const own = join(ckpt, "..", "own");
  await cp(options.modelName ?? "", own, { recursive: true });
  await writeFile(config, JSON.stringify({ ...json, base_model_name_or_path: own }));
  await run();
  const [flags] = await readLines(join(ckpt, boolqFile));
  t.is(flags?.model_name, options.modelName);
  await rm(join(ckpt, boolqFile));
  await run({ modelName: undefined });
  const [recorded] = await readLines(join(ckpt, boolqFile));
  t.is(recorded?.model_name, own);
});

test("runEvaluation skips a set whose file is there, without loading the model", async (t) => {
  const { run, ckpt, lines } = await prepare(t);
  await run();
  const answers = await readFile(join(ckpt, boolqFile), "utf8");
  lines.length = 0;
  await run({ modelName: "no such model" });
  t.deepEqual(lines, [`${join(ckpt, boolqFile)}: File exists, skipped.`]);
  t.is(await readFile(join(ckpt, boolqFile), "utf8"), answers);
});

test("runEvaluation answers only the first rows with a limit, and one beam with --decoding=greedy", async (t) => {
  const { run, ckpt } = await prepare(t);
  await run({ limit: 2, decoding: "greedy" });
  t.is((await readLines(join(ckpt, boolqFile))).length, 4 + 2);
});

test("runEvaluation searches with more beams than context and answer have columns (9.8)", async (t) => {
  const { run, ckpt } = await prepare(t);
  await run({ beamSize: 300, maxNewTokens: 1 });
  const path = join(ckpt, "output_-1_boolq_maxT=1_beam=300_eval.jsonl");
  t.is((await readLines(path)).length, 4 + 3);
});

/** The answers to boolq beside a generation_config.json with these fields. */
const answersWith = async (
  t: ExecutionContext,
  file: object | undefined,
  changes: Partial<EvaluationRunOptions> = {},
): Promise<{ readonly answers: readonly unknown[]; readonly lines: readonly string[] }> => {
  const { run, ckpt, lines, options } = await prepare(t);
  if (file)
    await writeFile(join(options.modelName ?? "", "generation_config.json"), JSON.stringify(file));
  await run(changes);
  const [name] = (await readdir(ckpt)).filter((entry) => entry.endsWith("_eval.jsonl"));
  const rows = (await readLines(join(ckpt, name!))).slice(4);
  return { answers: rows.map(({ pred }) => pred), lines };
};

test("runEvaluation follows what generation_config.json says and the original does not pass to generate (9.5)", async (t) => {
  const plain = await answersWith(t, undefined);
  t.false(plain.lines.some((line) => line.includes("Decoding as")));
  for (const file of [
    { suppress_tokens: [0, 1, 2, 3] },
    { min_new_tokens: 4, suppress_tokens: [3] },
  ]) {
    const { answers, lines } = await answersWith(t, file);
    t.notDeepEqual(answers, plain.answers, JSON.stringify(file));
    const said = lines.filter((line) => line.includes("Decoding as"));
    t.is(said.length, 1);
    t.regex(said[0]!, /generation_config\.json says: (min_new_tokens 4, )?suppress_tokens/);
  }
});

test("runEvaluation lets what the original passes to generate stand over generation_config.json (9.5)", async (t) => {
  const plain = await answersWith(t, undefined);
  const { answers, lines } = await answersWith(t, {
    ...{ num_beams: 1, do_sample: true, temperature: 9, top_k: 1, top_p: 0.1 },
    ...{ max_new_tokens: 1, max_length: 2, num_return_sequences: 2 },
  });
  t.deepEqual(answers, plain.answers);
  t.false(lines.some((line) => line.includes("Decoding as")));
  const warnings = lines.filter((line) => line.startsWith("warning:"));
  t.is(warnings.length, 1);
  t.regex(warnings[0]!, /not done here: num_return_sequences;/);
});

test("runEvaluation stays greedy where greedy is asked for, and says that generation_config.json has beams (9.5)", async (t) => {
  const greedy = { decoding: "greedy" as const };
  const plain = await answersWith(t, undefined, greedy);
  const { answers, lines } = await answersWith(t, { num_beams: 3 }, greedy);
  t.deepEqual(answers, plain.answers);
  t.true(lines.some((line) => line.includes("num_beams")));
});

test("runEvaluation refuses a value out of its range before it answers (9.5)", async (t) => {
  await t.throwsAsync(answersWith(t, { repetition_penalty: 0 }), {
    instanceOf: UserError,
    message: /generation_config\.json says: "repetition_penalty": found 0, expected/,
  });
});

test("runEvaluation writes rank and norm of every adapted layer, and answers again", async (t) => {
  const { run, ckpt } = await prepare(t);
  await writeFile(join(ckpt, boolqFile), "old");
  await run({ computeRank: true, computeNorm: true });
  t.is((await readLines(join(ckpt, boolqFile))).length, 4 + 3);
  const analysis = JSON.parse(
    await readFile(join(ckpt, boolqFile.replace("_eval.jsonl", "_adapter.json")), "utf8"),
  ) as { readonly modules: readonly Record<string, unknown>[] };
  t.deepEqual(
    analysis.modules.map(({ module }) => String(module).replace(/^model\.layers\./, "")),
    [0, 1].flatMap((layer) =>
      ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"].map(
        (name) => `${String(layer)}.${name}`,
      ),
    ),
  );
  for (const { rank, relative_norm: relativeNorm } of analysis.modules) {
    t.true(Number(rank) >= 2 && Number(rank) <= 8);
    t.true(Number(relativeNorm) > 0);
  }
});

test("runEvaluation refuses a folder that is not there; compat exit warns", async (t) => {
  const { run, lines } = await prepare(t);
  const error = await t.throwsAsync(run({ ckpt: "no/such/run" }), { instanceOf: UserError });
  t.regex(error.message, /Cannot evaluate --ckpt=no\/such\/run: found no such folder/);
  await run({ ckpt: "no/such/run", compat: new Set(["exit"]) });
  t.deepEqual(lines, [`warning: ${error.message}`]);
});

test("runEvaluation leaves no file behind when it is stopped", async (t) => {
  const { run, ckpt, interrupt } = await prepare(t);
  interrupt.request("SIGINT");
  await t.throwsAsync(run(), { instanceOf: InterruptedError });
  t.deepEqual((await readdir(ckpt)).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
});
