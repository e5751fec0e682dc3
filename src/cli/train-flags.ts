import { isClassSetName } from "../datasets/class-sets.js";
import { isTextSetName } from "../datasets/wikitext.js";
import { listed, type FlagFault, type ValuesOf } from "../core/flag.js";
import { deviceFlagNames } from "./device-options.js";
import { modelFlagNames } from "./model-options.js";
import { flags, originalFlagNames, pickFlags } from "./options.js";

/** The flags of `hira train`: all of train_hira.py's, then ours. */
export const trainFlags = pickFlags([
  ...originalFlagNames,
  "resume_from_checkpoint",
  "output_file",
  "task",
  "metric_for_best",
  "max_shard_size",
  "data_dir",
  "validation",
  "prompt_field",
  "target_field",
  "template",
  "max_length",
  "show_rows",
  "use_input",
  "block_size",
  "shuffle",
  ...modelFlagNames,
  "adapter",
  "optim",
  "model_dropout",
  "max_grad_norm",
  "max_steps",
  "compat",
  "limit",
  "scoring",
  "choices",
  "temperature",
  "top_k",
  "top_p",
  ...deviceFlagNames,
  "log_steps",
  "log_format",
]);

/** The checked value of every flag of `hira train`, by its name. */
export type TrainFlagValues = ValuesOf<typeof trainFlags>;

/** What must hold between the flags of `hira train`, whatever each one's own limits. */
export const crossFaults = (values: TrainFlagValues, datasetFile: boolean): FlagFault[] => {
  const faults: FlagFault[] = [];
  const trains = values.ckpt === null && !values.dataset_analysis;
  const { choices } = flags.peft_type;
  const { peft_type: peftType, ckpt, adapter } = values;
  if (peftType === null && ckpt === null && adapter === null && !values.dataset_analysis)
    faults.push({
      what: "--peft_type",
      found: "nothing",
      expected: listed(choices),
      hint: `Choose how to tune the model, for example --peft_type ${choices[0]}`,
    });
  // Source: TrainingArguments of transformers, which counts whole updates from 1 up.
  const { eval_steps: evalSteps, eval_strategy: evalStrategy } = values;
  if (evalStrategy === "steps" && evalSteps > 1 && !Number.isInteger(evalSteps))
    faults.push({
      what: "--eval_steps",
      found: String(evalSteps),
      expected: "a whole number of updates, or a share below 1",
    });
  if (evalStrategy === "no" && values.early_stop_patience > 0)
    faults.push({
      what: "--early_stop_patience",
      found: `${String(values.early_stop_patience)} with --eval_strategy no`,
      expected: "--eval_strategy steps or epoch: without evaluations nothing can stop",
    });
  for (const name of ["compute_rank", "compute_norm"] as const)
    if (values[name] && values.ckpt === null)
      faults.push({ what: `--${name}`, found: "no --ckpt", expected: "one beside it" });
  if (values.resume_from_checkpoint !== null && !trains)
    faults.push({
      what: "--resume_from_checkpoint",
      found: values.ckpt === null ? "--dataset_analysis beside it" : "--ckpt beside it",
      expected: "a training run",
      hint: "--ckpt evaluates what was trained; leave it out to train on",
    });
  const hasClasses = isClassSetName(values.dataset) || values.task === "sequence-classification";
  if (hasClasses && values.dataset_analysis)
    faults.push({
      what: "--dataset_analysis",
      found: `texts with labels in --dataset ${values.dataset}`,
      expected: "rows to write",
    });
  if (isTextSetName(values.dataset) && values.ckpt !== null && !values.dataset_analysis)
    faults.push({
      what: "--dataset",
      found: `${values.dataset}, which is running text, with --ckpt`,
      expected: "a set of rows",
      hint: `hira perplexity --dataset=${values.dataset} measures it`,
    });
  if (values.dataset === "common_all" && values.ckpt === null && !values.dataset_analysis)
    faults.push({
      what: "--dataset",
      found: '"common_all" without --ckpt',
      expected: "a set to train on",
      hint: "common_all answers the eight commonsense sets with a trained adapter; train on common_170k",
    });
  if (values.output_file !== null && values.scoring === "both")
    faults.push({
      what: "--output_file",
      found: "--scoring both beside it, which has two files",
      expected: "--output_folder, or one of generate and loglik",
    });
  if (values.output_file !== null && values.dataset === "common_all")
    faults.push({
      what: "--output_file",
      found: "--dataset common_all beside it, which has a file for each of its sets",
      expected: "one set, or --output_folder",
    });
  if (values.validation !== null && !datasetFile)
    faults.push({
      what: "--validation",
      found: `--dataset ${values.dataset}, which has its own validation rows`,
      expected: "a --dataset that is a file",
    });
  const updates = values.max_steps ?? values.epoch;
  const evaluates = trains && evalStrategy !== "no" && updates > 0;
  if (datasetFile && values.validation === null && evaluates)
    faults.push({
      what: "--eval_strategy",
      found: `${JSON.stringify(evalStrategy)} without --validation`,
      expected: "no, or --validation with a file or a share such as 0.1",
    });
  return faults;
};
