import type { Flags } from "../core/flag.js";
import type { FlagName } from "./options.js";

/** What a usual name is here: a flag, perhaps with a value, or with what it is in particular; or no flag, and why. */
type Meaning =
  | { readonly flag: FlagName; readonly value?: string; readonly note?: string }
  | { readonly none: string };

const is = (flag: FlagName, note?: string): Meaning =>
  note === undefined ? { flag } : { flag, note };

const none = (why: string): Meaning => ({ none: why });

const named = (meaning: Meaning, ...names: readonly string[]): Readonly<Record<string, Meaning>> =>
  Object.fromEntries(names.map((name) => [name, meaning]));

const lengths = none("the data set's table has the longest context, docs/data.md");
const computes = is("precision", "that of the arithmetic");
const scheduled = none("the rate rises over --warmup and falls in a straight line");
const adamw = none("AdamW has 0.9, 0.999 and 1e-8");
const always = (what: string): Meaning => none(`every run ${what}`);

/**
 * Usual names of what this program calls otherwise.
 *
 * Source: TrainingArguments, GenerationConfig and BitsAndBytesConfig of transformers; the configurations of peft; ModelConfig
 * and SFTConfig of TRL; the arguments of LLaMA-Factory; finetune.py of alpaca-lora and LLM-Adapters.
 */
const meanings: Readonly<Record<string, Meaning>> = {
  // Model and method
  ...named(
    is("model_name"),
    ...["model_name_or_path", "pretrained_model_name_or_path", "base_model", "base_model_name"],
    ...["base_model_name_or_path", "model_path", "model_id", "model_dir", "tokenizer_name"],
    ...["tokenizer_name_or_path"],
  ),
  ...named(
    is("peft_type"),
    ...["finetuning_type", "peft_method", "adapter_type", "tuner_type", "method", "train_type"],
  ),
  ...named({ flag: "peft_type", value: "lora" }, "use_lora", "use_peft"),
  ...named({ flag: "peft_type", value: "rslora" }, "use_rslora"),
  ...named({ flag: "peft_type", value: "dora" }, "use_dora"),
  ...named(is("r_ab"), "r", "rank", "lora_r", "lora_rank", "hira_r", "hira_rank", "lora_dim"),
  ...named(is("lora_alpha"), "alpha", "lora_scaling"),
  ...named(is("lora_dropout"), "dropout"),
  ...named(is("target_modules"), "lora_target", "lora_target_modules", "lora_targets", "targets"),
  ...named(is("layers"), "layers_to_transform", "lora_layers"),
  ...named(is("modules_to_save"), "lora_modules_to_save", "additional_target"),
  ...named(is("rank_pattern"), "lora_rank_pattern"),
  ...named(is("init_ab"), "init_lora_weights", "init_weights"),
  ...named(
    is("virtual_tokens"),
    ...[
      "num_virtual_tokens",
      "pre_seq_len",
      "prefix_length",
      "prompt_length",
      "soft_prompt_length",
    ],
  ),
  ...named(is("prompt_init_text"), "prompt_tuning_init_text"),
  ...named(is("encoder_hidden_size"), "prefix_hidden_size"),
  ...named(is("load_bit"), "bits", "quantization_bit", "load_bits"),
  ...named({ flag: "load_bit", value: "4" }, "load_in_4bit", "use_4bit"),
  ...named({ flag: "load_bit", value: "8" }, "load_in_8bit", "use_8bit"),
  ...named(is("quant_type"), "bnb_4bit_quant_type", "quantization_type"),
  ...named(
    is("double_quant"),
    ...["bnb_4bit_use_double_quant", "use_bnb_nested_quant", "double_quantization"],
  ),
  ...named(computes, "bf16", "fp16", "fp32", "tf32", "dtype", "torch_dtype", "mixed_precision"),
  ...named(computes, "bnb_4bit_compute_dtype", "pure_bf16"),
  ...named(none("--model=org/name@REVISION names one"), ...["model_revision", "revision"]),
  ...named(none("HF_TOKEN in the environment has it"), "hub_token", "token", "use_auth_token"),
  ...named(none("HF_HUB_CACHE in the environment names it"), "cache_dir"),
  ...named(
    none("models are computed by hira itself"),
    ...["trust_remote_code"],
    ...["attn_implementation", "flash_attn", "use_flash_attention_2", "use_fast_tokenizer"],
  ),
  ...named(is("device"), "device_map", "use_cpu", "no_cuda"),
  ...named(is("threads"), "num_threads", "cpu_threads", "omp_num_threads"),
  // Data
  ...named(
    is("dataset"),
    ...["dataset_name", "dataset_path", "data_path", "data_file", "train_file", "task_name"],
    ...["train_data", "train_dataset", "task"],
  ),
  ...named(is("data_dir"), "dataset_dir", "data_folder", "data_root"),
  ...named(
    is("validation"),
    ...["validation_file", "eval_file", "eval_dataset", "val_file", "eval_data"],
  ),
  ...named(
    none("hira data split holds rows out"),
    ...["val_size", "val_set_size", "validation_split_percentage", "test_size"],
  ),
  ...named(
    is("dataset_ratio", "a share of the rows"),
    ...["max_samples", "max_train_samples", "data_ratio", "sample_ratio"],
  ),
  ...named(is("limit"), "max_predict_samples", "max_eval_samples", "num_samples"),
  ...named(
    lengths,
    ...["max_length", "max_len", "max_seq_length", "max_seq_len", "cutoff_len", "seq_length"],
    ...["block_size", "model_max_length", "max_source_length", "max_prompt_length"],
  ),
  ...named(
    is("num_workers"),
    ...["dataloader_num_workers", "preprocessing_num_workers", "dataset_num_proc", "num_proc"],
  ),
  ...named(none("rows of like length share a batch as it is"), "group_by_length"),
  ...named(none("loss is on the answers alone"), "train_on_inputs", "train_on_prompt"),
  // Training
  ...named(is("lr"), "learning_rate", "base_learning_rate", "max_lr"),
  ...named(
    is("batch"),
    ...["batch_size", "bs", "train_batch_size", "micro_batch_size", "mini_batch_size"],
    ...[
      "per_device_train_batch_size",
      "per_gpu_train_batch_size",
      "train_micro_batch_size_per_gpu",
    ],
  ),
  ...named(
    is("batch", "training's, of which evaluation takes a quarter, or all with common_170k"),
    ...["eval_batch_size", "per_device_eval_batch_size", "per_gpu_eval_batch_size"],
  ),
  ...named(
    is("grad_acc"),
    ...["gradient_accumulation_steps", "gradient_accumulation", "accumulation_steps"],
    ...["accumulate_grad_batches", "grad_accum", "grad_accum_steps", "grad_accumulation_steps"],
  ),
  ...named(
    is("epoch"),
    ...["num_train_epochs", "num_epochs", "epochs", "n_epochs", "max_epochs", "train_epochs"],
  ),
  ...named(is("max_steps"), "max_train_steps", "num_steps", "train_steps", "total_steps", "steps"),
  ...named(is("warmup"), "warmup_steps", "num_warmup_steps", "lr_warmup_steps"),
  ...named(is("warmup", "a number of updates, not a share"), "warmup_ratio"),
  ...named(is("weight_decay"), "wd", "decay"),
  ...named(
    is("max_grad_norm"),
    ...["gradient_clipping", "grad_clip", "clip_grad", "clip_grad_norm", "max_gradient_norm"],
    ...["gradient_clip_val"],
  ),
  ...named(
    is("enable_grad_ckpt"),
    ...["gradient_checkpointing", "use_gradient_checkpointing", "grad_checkpointing", "grad_ckpt"],
    ...["activation_checkpointing"],
  ),
  ...named(is("optim"), "optimizer", "optimizer_name", "optimizer_type"),
  ...named(scheduled, "lr_scheduler_type", "lr_scheduler", "scheduler", "scheduler_type"),
  ...named(adamw, "adam_beta1", "adam_beta2", "adam_epsilon", "betas", "eps"),
  ...named(is("seed"), "random_seed", "data_seed"),
  ...named(is("ds_config"), "deepspeed", "deepspeed_config", "deepspeed_config_file"),
  // Checkpoints and evaluation
  ...named(is("eval_strategy"), "evaluation_strategy", "eval_every", "evaluate_during_training"),
  ...named(is("eval_strategy", "when losses are measured and checkpoints saved"), "save_strategy"),
  ...named(
    is("eval_steps", "the updates between two evaluations, each with a checkpoint"),
    "save_steps",
  ),
  ...named(is("early_stop_patience"), "early_stopping_patience", "patience"),
  ...named(is("early_stop_patience", "a number of evaluations"), "early_stopping"),
  ...named(is("save_total_limit"), "max_checkpoints", "keep_checkpoints"),
  ...named(always("ends with its best checkpoint"), "load_best_model_at_end"),
  ...named(
    is("ckpt"),
    ...["checkpoint", "checkpoint_path", "checkpoint_dir", "adapter_path"],
    ...["adapter_name_or_path", "lora_weights", "lora_path", "peft_model", "peft_path"],
  ),
  ...named(is("max_shard_size"), "export_size"),
  // Decoding
  ...named(
    is("max_new_tokens"),
    ...[
      "max_tokens",
      "generation_max_length",
      "max_target_length",
      "max_gen_len",
      "max_output_tokens",
    ],
  ),
  ...named(is("beam_size"), "num_beams", "beams", "beam", "generation_num_beams", "beam_width"),
  ...named(is("do_sample"), "sample", "sampling"),
  ...named(is("top_k"), "topk"),
  ...named(is("top_p"), "topp", "nucleus_p"),
  ...named(is("num_return_sequences"), "num_outputs", "num_samples_per_prompt"),
  // Files and output
  ...named(
    is("output_folder"),
    ...["output_dir", "output_path", "out_dir", "save_dir", "save_path", "default_root_dir"],
  ),
  ...named(is("out"), "output", "output_file", "out_file"),
  ...named(is("input"), "input_file", "in_file", "file"),
  ...named(is("exp_name"), "run_name", "experiment_name", "name"),
  ...named(is("log_steps"), "logging_steps", "log_interval", "log_every", "log_freq"),
  ...named(
    always("writes TensorBoard events into its folder"),
    ...["report_to", "logging_dir", "tensorboard_dir", "use_tensorboard", "use_wandb"],
  ),
  ...named(
    none("every run has a folder of its own, and nothing is overwritten"),
    "overwrite_output_dir",
  ),
  ...named(
    none("training is what happens without --ckpt, and answering with it"),
    ...["do_train", "do_eval", "do_predict", "predict_with_generate"],
  ),
};

/**
 * What a name that is usual elsewhere is here: `Did you mean "--lr"? It is --learning_rate elsewhere`. Undefined for other
 * names, for what the command has no flag of, and for the flags themselves.
 *
 * Dashes between words, and case, make no difference.
 * @param typed without leading dashes
 * @param prefix what stands before a name: dashes on the command line, nothing in a file
 */
export const foreignNameHint = (
  typed: string,
  flags: Flags,
  prefix: "--" | "",
): string | undefined => {
  const name = typed.replaceAll("-", "_").toLowerCase();
  const said = `${prefix}${typed}`;
  const own = Object.keys(flags).find((flag) => flag.toLowerCase() === name);
  if (own !== undefined) return own === typed ? undefined : `Did you mean "${prefix}${own}"?`;
  const meaning = Object.hasOwn(meanings, name) ? meanings[name] : undefined;
  if (meaning === undefined) return undefined;
  if ("none" in meaning)
    return Object.hasOwn(flags, "model_name")
      ? `There is no flag for ${said}: ${meaning.none}`
      : undefined;
  const { flag, value, note } = meaning;
  if (!Object.hasOwn(flags, flag)) return undefined;
  const assigned = value === undefined ? "" : `${prefix === "" ? ": " : "="}${value}`;
  const here = note === undefined ? "" : `, and here ${note}`;
  return `Did you mean "${prefix}${flag}${assigned}"? It is ${said} elsewhere${here}`;
};
