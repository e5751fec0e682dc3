import { demoFolder } from "./paths.js";

/** Everything in data_file/demo follows from this number. */
export const DEMO_SEED = 1;

/** Tokens the tokenizer may have at most, the 256 bytes and four special tokens among them; the world has fewer words. */
export const LARGEST_VOCABULARY = 2048;

/**
 * Full fine-tuning of the random model on the world's text, in rounds: first how instructions are answered, then more of the
 * facts, which a model of this size takes long to learn, and last how one of several listed answers is named.
 */
export const pretraining = {
  rounds: [
    {
      passages: 180_000,
      lr: "3e-3",
      mix: { common: 0.05, questions: 0.25, instructions: 0.25, quizzes: 0 },
    },
    {
      passages: 115_200,
      lr: "3e-3",
      mix: { common: 0.05, questions: 0.4, instructions: 0.1, quizzes: 0 },
    },
    {
      passages: 115_200,
      lr: "1.5e-3",
      mix: { common: 0.03, questions: 0.42, instructions: 0.1, quizzes: 0 },
    },
    {
      passages: 115_200,
      lr: "2e-3",
      mix: { common: 0.02, questions: 0.25, instructions: 0.2, quizzes: 0.33 },
    },
  ],
  /** Passages of the first round that the tokenizer learns from. */
  tokenizerPassages: 20_000,
  flags: [
    "--peft_type=fft",
    "--batch=128",
    "--epoch=1",
    "--warmup=100",
    "--weight_decay=0.01",
    "--eval_strategy=no",
    "--seed=36",
    "--log_steps=50",
  ],
} as const;

/** HiRA on the mixed set: what `npm run demo` trains. The number of threads is part of what makes it repeat to the bit. */
export const tuningFlags = [
  "--peft_type=hira",
  `--model=${demoFolder}`,
  "--dataset=common_170k",
  "--r_ab=32",
  "--target_modules=q_proj,k_proj,v_proj,up_proj,down_proj",
  "--batch=16",
  "--epoch=6",
  "--lr=2e-2",
  "--warmup=20",
  "--weight_decay=0",
  "--eval_strategy=steps",
  "--eval_steps=0.25",
  "--seed=36",
  "--log_steps=60",
  "--threads=2",
] as const;

/** How the eight sets are answered. */
export const answeringFlags = ["--dataset=common_all", "--beam_size=4", "--batch=128"] as const;
