import { kaimingUniform, zeros } from "../../src/peft/init.js";
import test from "ava";
import { flags, originalFlagNames } from "../../src/cli/options.js";
import { originalFlags } from "../../src/cli/train-options.js";
import { compatNames } from "../../src/core/compat.js";
import { runTrain } from "./support.js";

// train_hira.py's parser: names in its order, defaults as Python's json writes them.
const originalDefaults = {
  peft_type: null,
  enable_grad_ckpt: false,
  batch: 32,
  grad_acc: 1,
  num_workers: 0,
  warmup: 10,
  weight_decay: 0.01,
  epoch: 1,
  lr: 0.00001,
  model_name: "facebook/opt-125m",
  ckpt: null,
  dataset: "boolq",
  dataset_analysis: false,
  dataset_ratio: 1,
  local_rank: -1,
  ds_config: null,
  output_folder: "results_hira",
  load_bit: 16,
  r_ab: 16,
  target_modules: "q_proj, v_proj",
  eval_strategy: "epoch",
  eval_steps: 1,
  max_new_tokens: null,
  beam_size: null,
  virtual_tokens: 8,
  compute_rank: false,
  compute_norm: false,
  load_order: -1,
  init_ab: "kaiming,zero",
  train_ab: "yy",
  seed: null,
  do_sample: "false",
  rand_R: false,
  exp_name: "",
  decoding: "default",
  save_total_limit: 1,
  early_stop_patience: 0,
};

test("originalFlags gives the 37 flags of train_hira.py with its defaults, in its order", async (t) => {
  const { options } = await runTrain(["--dataset_analysis"]);
  if (!options) return t.fail();
  const given = originalFlags(options);
  t.is(originalFlagNames.length, 37);
  t.deepEqual(
    Object.entries(given),
    Object.entries({ ...originalDefaults, dataset_analysis: true }),
  );
});

test("originalFlags keeps texts as given, and takes what an evaluated run brings with it", async (t) => {
  const { options } = await runTrain([
    "--ckpt=run",
    "--do_sample",
    "Yes",
    "--target=q_proj , up_proj",
  ]);
  if (!options) return t.fail();
  const given = originalFlags(options, { peft_type: "hira", r_ab: 32 });
  t.is(given.do_sample, "Yes");
  t.is(given.target_modules, "q_proj , up_proj");
  t.is(given.peft_type, "hira");
  t.is(given.r_ab, 32);
  t.deepEqual(Object.keys(given), originalFlagNames);
});

test("hira takes the README's line and runs train", async (t) => {
  const line =
    "--peft_type=hira --model=meta-llama/Meta-Llama-3-8B --r_ab=32 --enable_grad_ckpt --epoch=3 --lr=1e-3 --batch=16 " +
    "--dataset=common_170k --seed=36 --warmup=100 --eval_strategy=steps --eval_steps=80 --output_folder=results_hira " +
    "--target_modules=q_proj,k_proj,v_proj,up_proj,down_proj";
  const { code, work, options } = await runTrain(line.split(" "));
  t.is(code, 0);
  t.is(work, "train");
  t.like(options, {
    peftType: "hira",
    modelName: "meta-llama/Meta-Llama-3-8B",
    rank: 32,
    enableGradCkpt: true,
    epoch: 3,
    lr: 1e-3,
    batch: 16,
    dataset: "common_170k",
    seed: 36,
    warmup: 100,
    evalStrategy: "steps",
    evalSteps: 80,
    outputFolder: "results_hira",
    targetModules: "q_proj,k_proj,v_proj,up_proj,down_proj",
  });
});

test("hira train FLAGS is hira FLAGS", async (t) => {
  const line = ["--peft_type", "fft", "--lr", "1_0e-4"];
  const [short, long] = [await runTrain(line), await runTrain(["train", ...line])];
  t.is(short.options?.lr, 0.001);
  t.deepEqual(short, long);
});

test("hira train without flags of ours has our defaults", async (t) => {
  const { options } = await runTrain(["--peft_type=hira"]);
  t.like(options, {
    dataDir: undefined,
    adapterInit: undefined,
    validation: undefined,
    shuffle: true,
    maxGradNorm: 1,
    device: "auto",
    precision: "fp32",
    threads: undefined,
    limit: undefined,
    temperature: 0.1,
    topK: 40,
    topP: 0.75,
    logSteps: 10,
    initA: kaimingUniform,
    initB: zeros,
    trainA: true,
    trainB: true,
    seed: undefined,
  });
  t.is(options?.compat.size, 0);
});

test("hira train takes the last of a repeated flag", async (t) => {
  const { options } = await runTrain([
    "--peft=hira",
    "--lr=1",
    "--lr",
    "2",
    "--batch=1",
    "--batch=8",
  ]);
  t.like(options, { lr: 2, batch: 8 });
});

test("hira train --ckpt evaluates and needs no --peft_type", async (t) => {
  const { work, options } = await runTrain([
    "--ckpt=results/run",
    "--dataset=common_all",
    "--beam=4",
  ]);
  t.is(work, "evaluate");
  t.like(options, { ckpt: "results/run", beamSize: 4, peftType: undefined });
});

test("--compat=reference switches every behaviour on, a list some of them", async (t) => {
  const all = await runTrain(["--peft=hira", "--compat=reference"]);
  t.deepEqual([...(all.options?.compat ?? [])], [...compatNames]);
  const some = await runTrain(["--peft=hira", "--compat=tokens, pad"]);
  t.deepEqual([...(some.options?.compat ?? [])], ["tokens", "pad"]);
});

test("--compat=init makes --init_ab a part of the name alone", async (t) => {
  const { options } = await runTrain(["--peft=hira", "--init_ab=zero,kaiming", "--compat=init"]);
  t.deepEqual([options?.initA, options?.initB], [kaimingUniform, zeros]);
  t.is(options?.flags.init_ab, "zero,kaiming");
});

test("--do_sample is on for yes and true in any case", async (t) => {
  for (const [text, on] of [
    ["yes", true],
    ["TRUE", true],
    ["Yes", true],
    ["no", false],
    ["False", false],
  ] as const)
    t.is((await runTrain(["--ckpt=x", `--do_sample=${text}`])).options?.doSample, on, text);
});

test("--shuffle takes the words for true and false", async (t) => {
  for (const [text, on] of [
    ["true", true],
    ["No", false],
    ["0", false],
    ["on", true],
  ] as const)
    t.is((await runTrain(["--peft=fft", `--shuffle=${text}`])).options?.shuffle, on, text);
});

test("--dataset takes a .jsonl file, with --validation beside it", async (t) => {
  const { options } = await runTrain([
    "--peft=hira",
    "--dataset=a/b.jsonl",
    "--validation=c.jsonl",
  ]);
  t.like(options, { datasetFile: "a/b.jsonl", validation: "c.jsonl" });
  t.is((await runTrain(["--peft=hira", "--dataset=b.jsonl", "--eval_strategy=no"])).code, 0);
});

const needed = ["--peft_type=hira"];
const refusals: readonly (readonly [argv: readonly string[], message: RegExp])[] = [
  [[], /^Usage: hira/],
  [["--lr=1e-3"], /Cannot use --peft_type: found nothing, expected hira.* or fft\n {2}Choose how/],
  [["--peft_type=lara"], /found "lara", expected hira, lora, .* or fft\n {2}Did you mean "lora"\?/],
  [[...needed, "--dataset=bool"], /Did you mean "boolq"\?/],
  [[...needed, "--dataset=common_all"], /"common_all" without --ckpt, expected a set to train on/],
  [[...needed, "--local_rank=1"], /--local_rank: found 1, whose work comes in a later version/],
  [[...needed, "--load_bit=7"], /--load_bit: found 7, expected 32, 16, 8 or 4/],
  [
    ["--peft_type=qlora", "--load_bit=8"],
    /--load_bit: found 8 with --peft_type qlora, expected 4, .*\n {2}For a base in other bits choose/,
  ],
  [["--peft_type=fft", "--load_bit=4"], /--load_bit: found 4 with --peft_type fft, expected 16 or/],
  [["--peft_type=fft", "--load_bit=8"], /--load_bit: found 8 with --peft_type fft, expected 16 or/],
  [[...needed, "--quant_type=nf4"], /--quant_type: found nf4 with --load_bit 16, expected 4 bits/],
  [
    [...needed, "--load_bit=8", "--double_quant=no"],
    /--double_quant: found false with --load_bit 8, expected 4 bits/,
  ],
  [[...needed, "--load_bit=4", "--quant_type=nf5"], /found "nf5", .*\n {2}Did you mean "nf4"\?/],
  [
    [...needed, "--qlora_adapter=dora"],
    /--qlora_adapter: found dora with --peft_type hira, expected --peft_type qlora/,
  ],
  [["--peft_type=qlora", "--qlora_adapter=mora"], /"mora", expected lora, dora or hira/],
  [[...needed, "--optim=sgd"], /--optim: found "sgd", expected adamw_torch or paged_adamw_32bit/],
  [[...needed, "--r_ab=0"], /--r_ab: found 0, expected a whole number of at least 1/],
  [[...needed, "--batch=1.5"], /--batch: found "1\.5", expected a whole number of at least 1/],
  [[...needed, "--batch=x"], /--batch: found "x", expected a whole number of at least 1/],
  [[...needed, "--beam_size=0"], /--beam_size: found 0, expected a whole number of at least 1/],
  [[...needed, "--lr=0"], /--lr: found 0, expected a number above 0/],
  [[...needed, "--lr=inf"], /--lr: found "inf", expected a number above 0/],
  [[...needed, "--epoch=-1"], /--epoch: found -1, expected a number of at least 0/],
  [[...needed, "--dataset_ratio=0"], /--dataset_ratio: found 0, expected a number above 0/],
  [[...needed, "--warmup=-1"], /--warmup: found -1, expected a whole number of at least 0/],
  [[...needed, "--top_p=1.1"], /--top_p: found 1\.1, expected a number above 0 and of at most 1/],
  [
    [...needed, "--seed=9007199254740993"],
    /--seed: found "9007199254740993", expected a whole number/,
  ],
  [
    [...needed, "--eval_strategy=never"],
    /--eval_strategy: found "never", expected no, steps or epoch/,
  ],
  [
    [...needed, "--eval_strategy=steps", "--eval_steps=1.5"],
    /found 1\.5, expected a whole number of updates/,
  ],
  [[...needed, "--eval_steps=0"], /--eval_steps: found 0, expected a number above 0/],
  [[...needed, "--eval_strategy=no", "--early=2"], /found 2 with --eval_strategy no/],
  [[...needed, "--compute_rank"], /--compute_rank: found no --ckpt, expected one beside it/],
  [[...needed, "--validation=x.jsonl"], /--validation: found --dataset boolq, which has its own/],
  [[...needed, "--dataset=x.jsonl"], /--eval_strategy: found "epoch" without --validation/],
  [[...needed, "--train_ab=nn"], /--train_ab: found "nn", expected yy, yn or ny/],
  [[...needed, "--train_ab=y"], /--train_ab: found "y", expected yy, yn or ny/],
  [[...needed, "--init_ab=kaiming"], /--init_ab: found "kaiming", expected two of kaiming, zero/],
  [[...needed, "--init_ab=zero,zero"], /else both gradients stay zero/],
  [[...needed, "--target_modules=q_proj,,v_proj"], /expected names with one comma between them/],
  [[...needed, "--do_sample=ture"], /--do_sample: found "ture", expected yes, true, no or false/],
  [[...needed, "--shuffle=maybe"], /--shuffle: found "maybe", expected true or false/],
  [[...needed, "--compat=refrence"], /Did you mean "reference"\?/],
  [
    [...needed, "--compat=reference,pad"],
    /--compat: found "reference,pad", expected reference alone/,
  ],
  [
    [...needed, "extra"],
    /Cannot use "extra": found a word, expected only flags after "hira train"/,
  ],
  [
    [...needed, "--tarin_ab=yy"],
    /--tarin_ab: found an unknown flag.*\n {2}Did you mean "--train_ab"\?/,
  ],
  [[...needed, "--ds_config=nowhere.json"], /Cannot read nowhere\.json/],
];
for (const [argv, message] of refusals) {
  test(`hira ${argv.join(" ")} exits 2 and says why`, async (t) => {
    const { code, stderr, stdout, work } = await runTrain(argv);
    t.is(code, 2);
    t.is(work, undefined);
    t.is(stdout, "");
    t.regex(stderr, message);
    if (argv.length > 0) t.regex(stderr, /^error: Cannot /);
  });
}

test("hira train tells all faults at once, each once", async (t) => {
  const { stderr } = await runTrain([
    "--peft_type=hara",
    "--lr=x",
    "--r_ab=0",
    "--bach=2",
    "--eval_strategy=no",
    "--early=1",
  ]);
  t.is(
    stderr,
    [
      'error: Cannot run "hira train": found 5 faults',
      "  --bach: found an unknown flag, expected a flag of this command",
      `  --peft_type: found "hara", expected ${flags.peft_type.choices.slice(0, -1).join(", ")} or fft`,
      '  --lr: found "x", expected a number above 0',
      "  --r_ab: found 0, expected a whole number of at least 1",
      "  --early_stop_patience: found 1 with --eval_strategy no, expected --eval_strategy steps or epoch: without evaluations nothing can stop",
      '  Did you mean "--batch"?',
      '  Did you mean "hira"?',
      "",
    ].join("\n"),
  );
});

test("every flag has a help text without a full stop", (t) => {
  for (const [name, { help }] of Object.entries(flags)) t.regex(help, /^\S.*[^.]$/, name);
});
