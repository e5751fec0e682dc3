import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { commands } from "../../src/cli/commands.js";
import { forwardCommand } from "../../src/cli/commands/forward.js";
import { generateCommand } from "../../src/cli/commands/generate.js";
import { sweepCommand } from "../../src/cli/commands/sweep.js";
import { defaultOf, type Flag, type ValuesOf, type Flags } from "../../src/core/flag.js";
import { methodReads } from "../../src/cli/model-reads.js";
import { originalFlagNames } from "../../src/cli/options.js";
import { unreadFlags } from "../../src/cli/reads.js";
import { trainFlags, type TrainFlagValues } from "../../src/cli/train-flags.js";
import { optionGroups, peftTypes } from "../../src/peft/registry.js";
import { writeRunConfig } from "../../src/report/run-config.js";
import { makeFolder } from "../support/make-folder.js";
import { runMain, runTrain, type MainResult } from "./support.js";

// The tests of a file run side by side, and every command line in this process listens for signals.
process.setMaxListeners(0);

type Values = Record<string, boolean | number | string | null>;

const isOriginal = (name: string): boolean => originalFlagNames.some((known) => known === name);

const defaults = (flags: Flags): Values =>
  Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, defaultOf(flag)]));

/** Values of other flags that decide what a command reads. */
const modes: readonly Values[] = [
  {},
  ...peftTypes.map((peft_type) => ({ peft_type })),
  { peft_type: "hira", do_sample: "yes", dataset: "boolq" },
  { peft_type: "hira", eval_strategy: "steps" },
  { peft_type: "hira", dataset: "rows.jsonl", validation: "rows.jsonl" },
  { peft_type: "prefix", prefix_projection: true },
  { peft_type: "p-tuning", encoder_reparameterization_type: "LSTM" },
  { peft_type: "sparse-lora", sparse_method: "l1" },
  { peft_type: "lora", load_bit: 4 },
  { ckpt: "RUN" },
  { ckpt: "RUN", do_sample: "yes" },
  { ckpt: "RUN", load_bit: 4 },
  { load_bit: 4, beam_size: 4 },
  { dataset_analysis: true },
  { peft_type: "hira", dataset: "wikitext2" },
  { peft_type: "hira", dataset: "sst2", eval_strategy: "steps" },
  { ckpt: "RUN", scoring: "loglik" },
  { out: "figures.json" },
  { peft_type: "hira", device: "openvino" },
  { device: "openvino", model_name: "MODEL" },
  { device: "openvino", model_name: "MODEL", load_bit: 4 },
  { bert_model: "ENCODER" },
];

/** Flags that a command takes for a config that it shares with another, and always names. */
const neverRead: Readonly<Record<string, readonly string[]>> = {
  forward: [
    "sparsity",
    "sparse_method",
    "sparse_schedule",
    "sparse_start",
    "sparse_end",
    "l1_weight",
    "lora_dropout",
  ],
};

for (const { name, flags, reads } of commands)
  test(`every flag of hira ${name} is read in some mode, or named in all of them (9.2)`, (t) => {
    t.deepEqual(Object.keys(reads).sort(), Object.keys(flags).sort());
    const never = Object.keys(flags).filter((flag) =>
      modes.every(
        (mode) =>
          unreadFlags(reads, { ...defaults(flags), ...mode } as ValuesOf<Flags>, [flag]).length > 0,
      ),
    );
    t.deepEqual(never, neverRead[name] ?? []);
  });

test("every option of a method is set by a flag, or by --compat alone (9.2)", (t) => {
  // What the tokenizer makes of another option.
  const made = ["promptInitIds"];
  const changed = { number: 7, boolean: true } as const;
  const unset = optionGroups.flatMap((group) => {
    const values = defaults(group.flags);
    const context = { compat: new Set<never>(), faults: [] };
    const others: Values[] = Object.entries(group.flags).map(([name, flag]) => ({
      ...values,
      r_ab: 16,
      [name]:
        flag.kind === "text"
          ? (flag.choices?.find((choice) => choice !== flag.default) ??
            { init_ab: "zero,kaiming", train_ab: "ny" }[name] ??
            "text")
          : changed[flag.kind === "switch" || flag.kind === "boolean" ? "boolean" : "number"],
    }));
    // --train_ab has two letters, of which one changes at a time.
    const more = group.flags.train_ab ? [{ ...values, train_ab: "yn" }] : [];
    const read = [...others, ...more].map(
      (each) => group.read(each as never, context) as Readonly<Record<string, unknown>>,
    );
    const unchanged = group.defaults as Readonly<Record<string, unknown>>;
    return Object.keys(unchanged).filter(
      (option) =>
        !made.includes(option) && read.every((each) => each[option] === unchanged[option]),
    );
  });
  t.deepEqual(unset.sort(), ["biasTwice", "masksPadding"]);
});

/** A text that each kind of flag takes. */
const textOf = (name: string, flag: Flag): string => {
  const texts: Readonly<Record<string, string>> = {
    ckpt: "RUN",
    compat: "pad",
    dataset: "boolq",
    do_sample: "yes",
    ds_config: "ds_configs/ds_config_z2.json",
    encoder_num_layers: "1",
    init_ab: "kaiming,zero",
    layers: "0",
    max_shard_size: "1GB",
    metric_for_best: "loss",
    rank_pattern: "q_proj=2",
    sparse_end: "3",
    train_ab: "yy",
    lora_dropout: "0.1",
    eval_steps: "1",
  };
  if (texts[name] !== undefined) return texts[name];
  if (flag.kind === "boolean") return "true";
  if (flag.kind === "text") return flag.choices?.[0] ?? "word";
  return flag.kind === "switch" ? "" : String(flag.default ?? flag.choices?.[0] ?? 1);
};

const argument = (name: string, flag: Flag): string =>
  flag.kind === "switch" ? `--${name}` : `--${name}=${textOf(name, flag)}`;

for (const [mode, line] of [
  ...peftTypes.map((peftType) => [peftType, [`--peft_type=${peftType}`]] as const),
  ["hira on rows of ids", ["--peft_type=hira", "--dataset=a.jsonl", "--eval_strategy=no"]],
  ["--ckpt", ["--ckpt=RUN"]],
  ["--dataset_analysis", ["--dataset_analysis"]],
] as const)
  test(`every flag is read, or a flag of train_hira.py warned of and one of ours refused: ${mode} (9.2)`, async (t) => {
    const fixed = new Set(line.map((word) => word.replace(/^--|=.*/g, "")));
    const refused: string[] = [];
    for (const [name, flag] of Object.entries<Flag>(trainFlags)) {
      if (fixed.has(name) || name === "ckpt" || name === "dataset_analysis") continue;
      const { code, stderr, work, options } = await runTrain([...line, argument(name, flag)]);
      if (code === 0) {
        t.not(work, undefined);
        const values = (options?.flags ?? {}) as TrainFlagValues;
        const { reads } = commands[0]!;
        const unread = unreadFlags(reads, values, [name]);
        t.is(stderr.includes(`--${name} (`), unread.length > 0, `${name}: ${stderr}`);
        if (unread.length > 0) {
          t.true(isOriginal(name), name);
          t.regex(stderr, /^warning: Without effect here: .*\n$/);
        } else t.is(stderr, "", name);
      } else {
        // One line names it, with the flag that decides.
        t.regex(stderr.split("\n")[0] ?? "", new RegExp(`--${name}\\b`), stderr);
        refused.push(name);
      }
    }
    // A flag of the original's that is refused contradicts the line, as --compute_rank without --ckpt.
    const contradict = ["compute_rank", "compute_norm", "early_stop_patience", "load_bit"];
    t.deepEqual(
      refused.filter((name) => isOriginal(name) && !contradict.includes(name)),
      [],
    );
  });

test("flags of other methods stand in one line, ours refused: hira (9.2)", async (t) => {
  const { code, stderr, work } = await runTrain([
    ...["--peft_type=hira", "--lora_alpha=8", "--r_lora=4", "--mora_type=6", "--sparsity=0.5"],
    ...["--prefix_projection", "--encoder_hidden_size=4", "--max_shard_size=1GB"],
    ...["--temperature=0.5", "--top_k=3", "--virtual_tokens=4"],
  ]);
  t.is(code, 2);
  t.is(work, undefined);
  t.deepEqual(stderr.split("\n"), [
    "error: Cannot use --lora_alpha, --r_lora, --mora_type, --sparsity, --prefix_projection, --encoder_hidden_size, --max_shard_size (with --peft_type=hira), --temperature, --top_k (without --do_sample=yes): found flags without effect here, expected a line without them",
    "  --lora_alpha goes with --peft_type=lora, rslora, dora, hilora, sparse-lora or qlora",
    "  --r_lora goes with --peft_type=hilora",
    "  --mora_type goes with --peft_type=mora",
    "  --sparsity goes with --peft_type=sparse-lora",
    "  --prefix_projection goes with --peft_type=prefix",
    "  --encoder_hidden_size goes with --peft_type=prefix or p-tuning",
    "  --max_shard_size goes with --peft_type=fft",
    "",
  ]);
});

test("flags of train_hira.py without effect are one warning, and the run goes on (9.2)", async (t) => {
  const { code, stderr, work } = await runTrain([
    ...["--peft_type=prefix", "--r_ab=8", "--target_modules=q_proj", "--rand_R"],
    ...["--eval_steps=80", "--load_order=0", "--dataset=common_170k", "--beam_size=4"],
  ]);
  t.is(code, 0);
  t.is(work, "train");
  t.is(
    stderr,
    "warning: Without effect here: --r_ab, --target_modules, --rand_R (with --peft_type=prefix), --eval_steps (without --eval_strategy=steps), --load_order (without --ckpt), --beam_size (with --dataset=common_170k)\n",
  );
});

test("what the README and the original's scripts write is quiet (9.2)", async (t) => {
  const lines = [
    "--peft_type=hira --model=meta-llama/Meta-Llama-3-8B --r_ab=32 --enable_grad_ckpt --epoch=3 --lr=1e-3 --batch=16 --dataset=common_170k --seed=36 --warmup=100 --eval_strategy=steps --eval_steps=80 --output_folder=results_hira --target_modules=q_proj,k_proj,v_proj,up_proj,down_proj",
    "--dataset=boolq --batch=16 --ckpt=RUN --beam_size=4",
    "--peft_type=prefix --virtual_tokens=8 --local_rank=0",
    "--peft_type=fft --lr=2e-5",
  ];
  for (const line of lines) t.is((await runTrain(line.split(" "))).stderr, "", line);
  const { stderr } = await runTrain(
    "--dataset=boolq --batch=16 --output_folder=temp --ckpt=RUN --beam_size=4".split(" "),
  );
  t.is(stderr.split("\n").length <= 2, true, stderr);
});

test("--epoch beside --max_steps, and a flag that another value asks for, are named (9.2)", async (t) => {
  const { stderr } = await runTrain(["--peft_type=hira", "--epoch=2", "--max_steps=3"]);
  t.is(stderr, "warning: Without effect here: --epoch (with --max_steps=3)\n");
  for (const [line, expected] of [
    ["--peft_type=prefix --encoder_hidden_size=4", /\(without --prefix_projection\)/],
    ["--peft_type=sparse-lora --l1_weight=1", /--l1_weight \(without --sparse_method=l1\)/],
    [
      "--peft_type=sparse-lora --sparse_schedule=oneshot --sparse_end=4",
      /--sparse_end \(without --sparse_schedule=gradual\)/,
    ],
    [
      "--peft_type=qlora --qlora_adapter=hira --lora_alpha=4",
      /--lora_alpha \(with --peft_type=qlora --qlora_adapter=hira\)/,
    ],
    ["--ckpt=RUN --max_steps=4 --lora_dropout=0.1", /--max_steps, --lora_dropout \(with --ckpt\)/],
    ["--dataset_analysis --threads=2", /--threads \(with --dataset_analysis\)/],
  ] as const) {
    const { code, stderr } = await runTrain(line.split(" "));
    t.is(code, 2, line);
    t.regex(stderr, expected, line);
  }
  t.is((await runTrain(["--peft_type=qlora", "--lora_alpha=4"])).stderr, "");
  const sampling = "--peft_type=hira --do_sample=yes --temperature=0.5 --top_k=3 --top_p=0.9";
  t.is((await runTrain(sampling.split(" "))).stderr, "");
});

test("--rand_R beside a method without R is left aside (9.2)", async (t) => {
  const { options, stderr } = await runTrain(["--peft_type=lora", "--rand_R"]);
  t.regex(stderr, /Without effect here: --rand_R \(with --peft_type=lora\)/);
  t.false(options?.randomR);
  t.true((await runTrain(["--peft_type=hira", "--rand_R"])).options?.randomR);
});

/** Runs `hira train` with a --config file of these lines. */
const withConfig = async (
  t: ExecutionContext,
  lines: readonly string[],
  ...argv: readonly string[]
) => {
  const folder = await makeFolder(t, { "shared.yaml": `${lines.join("\n")}\n` });
  return runTrain([`--config=${join(folder, "shared.yaml")}`, ...argv]);
};

test("a file's flags are judged as those of the line, with their places; defaults say nothing (9.2)", async (t) => {
  const wrong = await withConfig(t, ["peft_type: hira", "lr: 1e-3", "sparsity: 0.7"]);
  t.is(wrong.code, 2);
  t.regex(
    wrong.stderr,
    /^error: Cannot use --sparsity of \S+shared\.yaml, line 3 \(with --peft_type=hira\): found a flag without effect/,
  );
  const original = await withConfig(t, ["peft_type: hira", "virtual_tokens: 20"]);
  t.is(original.code, 0);
  t.regex(original.stderr, /warning: .*--virtual_tokens of \S+shared\.yaml, line 2 \(with --peft/);
  const quiet = await withConfig(t, ["peft_type: hira", "sparsity: 0.5", "temperature: 0.1"]);
  t.deepEqual([quiet.code, quiet.stderr], [0, ""]);
});

test("a file that serves several lines is no error where the line chooses otherwise (9.2)", async (t) => {
  const shared = ["lora_alpha: 16", "max_steps: 5"];
  for (const line of [["--peft_type=hira"], ["--peft_type=lora", "--ckpt=RUN"]]) {
    const { code, stderr } = await withConfig(t, shared, ...line);
    t.is(code, 0, stderr);
    t.regex(stderr, /^warning: Without effect here: --(lora_alpha|max_steps) of \S+shared\.yaml/);
  }
  t.is((await withConfig(t, shared, "--peft_type=hira", "--sparsity=0.7")).code, 2);
});

test("a run's config.yaml runs again quietly, also to evaluate, to analyse and with another method (9.2)", async (t) => {
  const { options } = await runTrain([
    ...["--peft_type=sparse-lora", "--sparsity=0.7", "--lora_alpha=16", "--max_steps=5"],
    ...["--eval_strategy=steps", "--eval_steps=2", "--seed=3", "--lora_dropout=0.1"],
  ]);
  const folder = await makeFolder(t, {});
  await writeRunConfig(folder, options?.flags ?? {});
  const path = join(folder, "config.yaml");
  // As an earlier version wrote it, which took flags without effect and knew fewer of them.
  const text = await readFile(path, "utf8");
  await writeFile(
    path,
    text.replace("mora_type: 6", "mora_type: 1").replace(/^threads: .*\n/m, ""),
  );
  for (const line of [
    [],
    ["--ckpt=RUN"],
    ["--dataset_analysis"],
    ["--peft_type=hira"],
    ["--eval_strategy=no"],
  ]) {
    const { code, stderr } = await runTrain([`--config=${path}`, ...line]);
    t.deepEqual([code, stderr], [0, ""], line.join(" "));
  }
});

/** `hira sweep --dry_run` of a file with these lines. */
const dryRun = async (t: ExecutionContext, lines: readonly string[]): Promise<MainResult> => {
  const folder = await makeFolder(t, { "study.yaml": `${lines.join("\n")}\n` });
  return runMain(
    ["sweep", join(folder, "study.yaml"), "--dry_run", `--out=${join(folder, "out")}`],
    [sweepCommand(() => [])],
  );
};

test("a sweep's runs get the shared flags that they read; what none reads is named (9.2)", async (t) => {
  const { code, stdout, stderr } = await dryRun(t, [
    "base: {lora_alpha: 16, r_ab: 4, virtual_tokens: 16}",
    "matrix: {peft_type: [lora, hira, prefix]}",
  ]);
  t.is(code, 0, stderr);
  t.is(stderr, "");
  const lines = stdout.split("\n").filter((line) => line.startsWith("hira"));
  t.deepEqual(
    lines.map((line) => line.replace(/^hira train | --output_folder.*/g, "")),
    [
      "--lora_alpha=16 --r_ab=4 --peft_type=lora",
      "--r_ab=4 --peft_type=hira",
      "--virtual_tokens=16 --peft_type=prefix",
    ],
  );
  for (const line of lines)
    t.is((await runTrain(line.split(" ").slice(1))).stderr, "", `a run of its own: ${line}`);
  const refused = await dryRun(t, [
    "base: {lora_alpha: 16, sparsity: 0.7, load_order: 0}",
    "matrix: {peft_type: [hira, prefix]}",
    "evaluate: {dataset: boolq, temperature: 0.5, warmup: 3}",
  ]);
  t.is(refused.code, 2);
  t.regex(
    refused.stderr,
    /--lora_alpha of \S+study\.yaml, line 1, --sparsity of \S+, line 1 \(with --peft_type=hira\): found flags without effect/,
  );
  t.regex(refused.stderr, /--temperature of \S+, line 3 \(without --do_sample=yes\)/);
  const warned = await dryRun(t, [
    "base: {load_order: 0}",
    "matrix: {peft_type: [hira]}",
    "evaluate: {dataset: boolq, warmup: 3}",
  ]);
  t.is(warned.code, 0, warned.stderr);
  t.regex(warned.stderr, /effect here: --load_order of \S+, line 1 \(without --ckpt\)\n/);
  t.regex(warned.stderr, /effect here: --warmup of \S+, line 3 \(with --ckpt\)\n/);
});

test("hira forward, generate, compare and sweep name flags without effect (9.2)", async (t) => {
  const idle = async () => undefined;
  const files = ["--input=a.jsonl", "--out=b"];
  for (const [line, code, expected] of [
    [["forward", ...files, "--r_ab=4"], 0, /warning: .*--r_ab \(without --peft_type\)/],
    [["forward", ...files, "--lora_alpha=4"], 2, /--lora_alpha \(without --peft_type\)/],
    [
      ["forward", ...files, "--peft_type=hira", "--lora_alpha=4"],
      2,
      /--lora_alpha \(with --peft_type=hira\)/,
    ],
    [["forward", ...files, "--ckpt=R", "--adapter_init=x"], 2, /--adapter_init \(with --ckpt=R\)/],
    [["forward", ...files, "--ckpt=R", "--seed=3"], 0, /--seed \(with --ckpt=R\)/],
    [["generate", ...files, "--do_sample=no", "--top_k=4"], 2, /--top_k \(without --do_sample=yes/],
    [["generate", ...files, "--do_sample=no", "--seed=4"], 0, /--seed \(without --do_sample=yes/],
    [["generate", ...files, "--load_order=1"], 0, /--load_order \(without --ckpt\)/],
    [
      ["generate", ...files, "--beam_size=1", "--early_stopping=true"],
      2,
      /--early_stopping \(without --beam_size above 1\)/,
    ],
    [["generate", ...files, "--do_sample=yes", "--top_k=4", "--seed=1"], 0, /^$/],
    [["compare", "RUN", "--per_set", "--json"], 2, /--per_set \(with --json\)/],
    [["sweep", "a.yaml", "--per_set", "--dry_run"], 2, /--per_set \(with --dry_run\)/],
  ] as const) {
    const table = [
      forwardCommand(idle),
      generateCommand(idle),
      ...commands.filter(({ name }) => name === "compare" || name === "sweep"),
    ];
    const run = await runMain(line, table);
    t.is(run.code, code, run.stderr);
    t.regex(run.stderr, expected);
  }
});

test("methodReads says what a method declares (9.2)", (t) => {
  const values = { ...defaults(trainFlags), peft_type: "mora" } as unknown as TrainFlagValues;
  t.true(methodReads("r_ab").every((requirement) => requirement.isMet(values, new Set())));
  t.false(methodReads("init_ab").every((requirement) => requirement.isMet(values, new Set())));
});
