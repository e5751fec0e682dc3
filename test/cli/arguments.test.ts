import test from "ava";
import { readArguments } from "../../src/cli/arguments.js";
import { trainFlags } from "../../src/cli/train-flags.js";

const read = (...args: string[]) => readArguments(args, trainFlags);

// Beginnings as Python's argparse resolves them for the 37 flags of train_hira.py.
const beginnings: Readonly<Record<string, string>> = {
  "--model": "--model_name",
  "--m": "ambiguous: --model_name, --max_new_tokens",
  "--p": "--peft_type",
  "--peft": "--peft_type",
  "--enable": "--enable_grad_ckpt",
  "--ba": "--batch",
  "--be": "--beam_size",
  "--b": "ambiguous: --batch, --beam_size",
  "--g": "--grad_acc",
  "--n": "--num_workers",
  "--wa": "--warmup",
  "--we": "--weight_decay",
  "--ep": "--epoch",
  "--lr": "--lr",
  "--l": "ambiguous: --lr, --local_rank, --load_bit, --load_order",
  "--ck": "--ckpt",
  "--dataset": "--dataset",
  "--data": "ambiguous: --dataset, --dataset_analysis, --dataset_ratio",
  "--dataset_a": "--dataset_analysis",
  "--dataset_": "ambiguous: --dataset_analysis, --dataset_ratio",
  "--ds": "--ds_config",
  "--output": "--output_folder",
  "--load": "ambiguous: --load_bit, --load_order",
  "--r_": "--r_ab",
  "--ra": "--rand_R",
  "--r": "ambiguous: --r_ab, --rand_R",
  "--target": "--target_modules",
  "--tr": "--train_ab",
  "--eval": "ambiguous: --eval_strategy, --eval_steps",
  "--max": "--max_new_tokens",
  "--v": "--virtual_tokens",
  "--compute_r": "--compute_rank",
  "--init": "--init_ab",
  "--se": "--seed",
  "--sa": "--save_total_limit",
  "--do": "--do_sample",
  "--exp": "--exp_name",
  "--dec": "--decoding",
  "--ea": "--early_stop_patience",
  // Only ours begin like this.
  "--data_": "--data_dir",
  "--tempe": "--temperature",
  "--shu": "--shuffle",
  "--top": "ambiguous: --top_k, --top_p",
  "--prec": "--precision",
  "--compat": "--compat",
  "--adapter": "--adapter",
  "--adapter_": "--adapter_init",
  "--he": "--help",
};

for (const [typed, meant] of Object.entries(beginnings)) {
  test(`readArguments takes ${typed} for ${meant}`, (t) => {
    const { canonical, faults } = read(typed, "1");
    if (meant.startsWith("ambiguous: ")) {
      t.is(faults[0]?.found, "an ambiguous flag");
      t.is(faults[0]?.expected, `one of ${meant.slice("ambiguous: ".length)}`);
    } else {
      t.deepEqual(faults, []);
      t.is(canonical[0]?.split("=")[0], meant);
    }
  });
}

test("readArguments takes a value after a blank or after =, and keeps later = signs", (t) => {
  t.deepEqual(read("--lr", "1e-3", "--exp_name=a=b", "--ckpt="), {
    canonical: ["--lr=1e-3", "--exp_name=a=b", "--ckpt="],
    off: new Set(),
    faults: [],
  });
});

test("readArguments takes negative numbers and texts with blanks for values", (t) => {
  t.deepEqual(
    read("--load_order", "-2", "--lr", "-1e-3", "--exp_name", "-a b", "--ckpt", "-").canonical,
    ["--load_order=-2", "--lr=-1e-3", "--exp_name=-a b", "--ckpt=-"],
  );
});

test("readArguments lets --resume_from_checkpoint stand without a value, and takes --resume for it", (t) => {
  const latest = "--resume_from_checkpoint=true";
  t.deepEqual(read("--resume", "--lr=1").canonical, [latest, "--lr=1"]);
  t.deepEqual(read("--resume_from_checkpoint").canonical, [latest]);
  t.deepEqual(read("--resume", "DIR").canonical, ["--resume_from_checkpoint=DIR"]);
});

test("readArguments says where a value is missing", (t) => {
  const { faults } = read("--lr", "--batch", "4", "--exp_name", "-x", "--seed");
  t.deepEqual(
    faults.map(({ what, found }) => [what, found]),
    [
      ["--lr", "no value"],
      ["--exp_name", "no value"],
      ["-x", "an unknown flag"],
      ["--seed", "no value"],
    ],
  );
});

test("readArguments refuses a value for a switch", (t) => {
  t.is(read("--rand_R=true").faults[0]?.expected, "no value: it is a switch");
  t.deepEqual(read("--rand_R", "--compute_n").canonical, ["--rand_R", "--compute_norm"]);
});

test("readArguments takes a switch back with --no_, and the last of both counts", (t) => {
  const back = read("--rand_R", "--lr=1", "--no_rand_R");
  t.deepEqual([back.canonical, [...back.off]], [["--lr=1"], ["rand_R"]]);
  const on = read("--no_rand_R", "--rand_R");
  t.deepEqual([on.canonical, [...on.off]], [["--rand_R"], []]);
  t.is(read("--no_rand_R=1").faults[0]?.what, "--no_rand_R");
  t.is(read("--no_lr").faults[0]?.found, "an unknown flag");
});

test("readArguments suggests the flag that an unknown one is near to", (t) => {
  const { faults } = read("--learning_rate", "1", "--gard_acc=2", "--epochs=3", "-lr", "3");
  t.deepEqual(
    faults.map(({ what, hint }) => [what, hint]),
    [
      ["--learning_rate", 'Did you mean "--lr"? It is --learning_rate elsewhere'],
      ["--gard_acc", 'Did you mean "--grad_acc"?'],
      ["--epochs", 'Did you mean "--epoch"? It is --epochs elsewhere'],
      ["-lr", 'Did you mean "--lr"?'],
    ],
  );
});

test("readArguments keeps words, and everything after --, behind the flags", (t) => {
  t.deepEqual(read("a", "--rand_R", "b", "--", "--lr").canonical, [
    "--rand_R",
    "--",
    "a",
    "b",
    "--lr",
  ]);
});
