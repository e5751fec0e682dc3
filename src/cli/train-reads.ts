import {
  findDataset,
  findSingleDataset,
  isDatasetFile,
  datasetNames,
  hasAnswers,
} from "../datasets/registry.js";
import { isClassSetName } from "../datasets/class-sets.js";
import { isTextSetName, textSetNames } from "../datasets/wikitext.js";
import type { MethodFlagName } from "../peft/registry.js";
import { offReference, onAccelerator } from "./device-options.js";
import type { FlagValues } from "./options.js";
import {
  changesLayers,
  draws,
  inFourBits,
  isQlora,
  methodReadTable,
  methodReads,
  trainsAllWeights,
} from "./model-reads.js";
import { always, notWith, onlyWith, where, type ReadTable, type Requirement } from "./reads.js";
import type { trainFlags, TrainFlagValues } from "./train-flags.js";

type Mode = "training" | "evaluation" | "analysis";
type ModeValues = Pick<FlagValues, "ckpt" | "dataset_analysis">;

const modeOf = ({ ckpt, dataset_analysis: analyses }: ModeValues): Mode => {
  if (analyses) return "analysis";
  return ckpt === null ? "training" : "evaluation";
};

const trains = (values: ModeValues): boolean => modeOf(values) === "training";

const evaluatesOnly = (values: ModeValues): boolean => modeOf(values) === "evaluation";

const inModes = (...modes: readonly Mode[]): Requirement<ModeValues> => ({
  decidedBy: ["ckpt", "dataset_analysis"],
  isMet: (values) => modes.includes(modeOf(values)),
  otherwise: (values) =>
    ({
      analysis: "with --dataset_analysis",
      evaluation: "with --ckpt",
      training: "without --ckpt",
    })[modeOf(values)],
});

/** Parameters have start values of their own. */
const fromStart = notWith<"adapter", string | null>("adapter", (path) => path !== null);

const inTraining = inModes("training");
const inEvaluation = inModes("evaluation");
const notInAnalysis = inModes("training", "evaluation");

/** A flag that a checkpoint is checked against, and that training reads where the method does. */
const toldByCheckpoint = (flag: MethodFlagName): readonly Requirement<TrainFlagValues>[] => [
  notInAnalysis,
  ...methodReads(flag).map((requirement) => where(trains, requirement)),
];

const inTrainingOf = (flag: MethodFlagName): readonly Requirement<TrainFlagValues>[] => [
  inTraining,
  ...methodReads(flag),
];

const namedSet = notWith<"dataset", string>("dataset", isDatasetFile);

type ClassValues = Pick<FlagValues, "dataset" | "task">;

/** Rows with classes are learnt, or tested. */
const hasClasses = ({ dataset, task }: ClassValues): boolean =>
  isClassSetName(dataset) || task === "sequence-classification";

/** Rows are answered in words: those of a set, and with --ckpt those of a file. */
const ofRows: Requirement<ModeValues & ClassValues> = {
  decidedBy: ["dataset", "task", "ckpt", "dataset_analysis"],
  isMet: (values) =>
    !hasClasses(values) &&
    (hasAnswers(values.dataset) || (isDatasetFile(values.dataset) && evaluatesOnly(values))),
  otherwise: ({ dataset }) => `with --dataset=${dataset}`,
};

const ofClasses: Requirement<ClassValues> = {
  decidedBy: ["dataset", "task"],
  isMet: hasClasses,
  otherwise: () => "without --task=sequence-classification",
};

const ofFile = [
  onlyWith<"dataset", string>("dataset", isDatasetFile, "dataset=FILE"),
  notWith<"task", string | null>("task", (task) => task === "sequence-classification"),
] as const;

/** Rows of a file, or such with classes. */
const ofOwnLength: Requirement<ClassValues> = {
  decidedBy: ["dataset", "task"],
  isMet: (values) => hasClasses(values) || isDatasetFile(values.dataset),
  otherwise: () => "without --dataset=FILE",
};

/** Rows that are answered: in words, or by a class. */
const ofTest: Requirement<ModeValues & ClassValues> = {
  ...ofRows,
  isMet: (values, written) => hasClasses(values) || ofRows.isMet(values, written),
};

/** A split is answered. */
const answers: readonly Requirement<TrainFlagValues>[] = [notInAnalysis, ofRows];

const adjustable = (name: string): boolean => {
  if (!datasetNames.some((known) => known === name)) return true;
  const found = findDataset(name);
  const sets = found.kind === "group" ? found.members.map(findSingleDataset) : [found];
  return sets.some(({ member }) => member.decoding.adjustable);
};

/** The set is decoded in a way that flags may change. */
const adjustsDecoding: readonly Requirement<TrainFlagValues>[] = [
  ...answers,
  notWith<"decoding", string>("decoding", (how) => how === "greedy"),
  notWith<"dataset", string>("dataset", (name) => !adjustable(name)),
];

const whereDrawn = [...adjustsDecoding, draws];

const evaluates = notWith<"eval_strategy", string>("eval_strategy", (when) => when === "no");

const changesSplits = onlyWith<"compat", string | null>(
  "compat",
  (names) => names !== null && /\b(?:reference|splits)\b/.test(names),
  "compat=splits",
);

/** train_hira.py writes the answers of --ckpt beside what is evaluated, whatever the folder. */
const movesAnswers = notWith<"compat", string | null>(
  "compat",
  (names) => names !== null && /\b(?:reference|names)\b/.test(names),
);

const ofLayers = [notInAnalysis, where(trains, changesLayers)] as const;

/** Which flags of `hira train` are read, in training, in evaluation (--ckpt) and by --dataset_analysis. */
export const trainReads: ReadTable<typeof trainFlags> = {
  ...methodReadTable<TrainFlagValues>({
    trained: toldByCheckpoint,
    start: inTrainingOf,
    training: inTrainingOf,
  }),
  peft_type: [notInAnalysis],
  enable_grad_ckpt: [inTraining],
  batch: always,
  grad_acc: [inTraining],
  num_workers: [namedSet],
  warmup: [inTraining],
  weight_decay: [inTraining],
  epoch: [inTraining, notWith<"max_steps", number | null>("max_steps", (steps) => steps !== null)],
  lr: [inTraining],
  model_name: always,
  ckpt: [inModes("training", "evaluation")],
  dataset: always,
  dataset_analysis: always,
  dataset_ratio: [where(evaluatesOnly, changesSplits)],
  // Launchers add it to every line.
  local_rank: always,
  ds_config: [inTraining],
  output_folder: [
    notInAnalysis,
    where(
      evaluatesOnly,
      notWith<"output_file", string | null>("output_file", (file) => file !== null),
    ),
    where(evaluatesOnly, movesAnswers),
  ],
  load_bit: [notInAnalysis],
  target_modules: ofLayers,
  eval_strategy: [inTraining],
  eval_steps: [
    inTraining,
    onlyWith<"eval_strategy", string>(
      "eval_strategy",
      (when) => when === "steps",
      "eval_strategy=steps",
    ),
  ],
  max_new_tokens: [ofRows],
  beam_size: adjustsDecoding,
  compute_rank: [inEvaluation],
  compute_norm: [inEvaluation],
  load_order: [inEvaluation],
  init_ab: [...inTrainingOf("init_ab"), fromStart],
  // Without one it is 42 in training; in evaluation it is that of what is drawn.
  seed: [notInAnalysis, ...whereDrawn.map((requirement) => where(evaluatesOnly, requirement))],
  do_sample: adjustsDecoding,
  exp_name: [inTraining],
  decoding: answers,
  save_total_limit: [inTraining, evaluates],
  early_stop_patience: [inTraining, evaluates],

  resume_from_checkpoint: [inTraining],
  output_file: [inEvaluation],
  max_shard_size: [inTraining, trainsAllWeights],
  data_dir: [namedSet],
  validation: [inModes("training", "analysis"), where(trains, evaluates)],
  use_input: [namedSet],
  prompt_field: ofFile,
  target_field: ofFile,
  template: ofFile,
  max_length: [ofOwnLength],
  task: [notInAnalysis],
  metric_for_best: [inTraining, evaluates, ofClasses],
  show_rows: [inTraining],
  shuffle: [inTraining],
  quant_type: [notInAnalysis, inFourBits],
  double_quant: [notInAnalysis, inFourBits],
  qlora_adapter: [notInAnalysis, where(trains, isQlora)],
  layers: ofLayers,
  modules_to_save: ofLayers,
  rank_pattern: ofLayers,
  adapter: [inTraining],
  adapter_init: [inTraining, fromStart],
  optim: [inTraining],
  model_dropout: [inTraining],
  max_grad_norm: [inTraining],
  max_steps: [inTraining],
  compat: always,
  block_size: [
    inModes("training", "analysis"),
    onlyWith<"dataset", string>("dataset", isTextSetName, `dataset=${textSetNames[0] ?? ""}`),
  ],
  limit: [notInAnalysis, ofTest],
  scoring: [inEvaluation],
  choices: [
    inEvaluation,
    onlyWith<"scoring", string>("scoring", (how) => how !== "generate", "scoring=loglik"),
  ],
  temperature: whereDrawn,
  top_k: whereDrawn,
  top_p: whereDrawn,
  device: [notInAnalysis],
  device_dir: [notInAnalysis, onAccelerator],
  precision: [notInAnalysis],
  threads: [notInAnalysis],
  skip_device_check: [notInAnalysis, offReference],
  log_steps: [inTraining],
  log_format: [inTraining],
};
