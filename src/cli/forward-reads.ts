import type { FlagValues } from "./options.js";
import {
  besideCheckpoint,
  changesLayers,
  inFourBits,
  isQlora,
  methodReads,
  type MethodFlagName,
} from "./model-reads.js";
import { always, notWith, onlyWith, where, type Requirement } from "./reads.js";

type SourceValues = Pick<FlagValues, "ckpt" | "peft_type">;

const builds = ({ ckpt }: SourceValues): boolean => ckpt === null;

/** A method is put onto the model, or a checkpoint brings one with it. */
const adapts: Requirement<SourceValues> = {
  decidedBy: ["ckpt", "peft_type"],
  isMet: ({ ckpt, peft_type: peftType }) => ckpt !== null || peftType !== null,
  otherwise: () => "without --peft_type",
};

/** Start values are drawn or read, for no checkpoint brings the trained ones. */
const starts = [
  notWith<"ckpt", string | null>("ckpt", (path) => path !== null),
  onlyWith<"peft_type", string | null>("peft_type", (peftType) => peftType !== null),
] as const;

const atStart = (flag: MethodFlagName) => [...starts, ...methodReads(flag)];

const toldByCheckpoint = (flag: MethodFlagName) => [
  adapts,
  ...methodReads(flag).map((requirement) => where(builds, requirement)),
];

const ofLayers = [adapts, where(builds, changesLayers)] as const;

/** Pruning belongs to training; here nothing is pruned. */
const inTrainingAlone = [
  { decidedBy: [], isMet: () => false, otherwise: () => "outside training" },
] as const;

/** Which flags of `hira forward` are read: beside a checkpoint, with a method, and of a plain model. */
export const forwardReads = {
  model_name: always,
  peft_type: always,
  r_ab: toldByCheckpoint("r_ab"),
  lora_alpha: toldByCheckpoint("lora_alpha"),
  use_rslora: toldByCheckpoint("use_rslora"),
  load_bit: always,
  quant_type: [inFourBits],
  double_quant: [inFourBits],
  qlora_adapter: [where(builds, isQlora)],
  r_lora: toldByCheckpoint("r_lora"),
  mora_type: toldByCheckpoint("mora_type"),
  target_modules: ofLayers,
  init_ab: atStart("init_ab"),
  train_ab: atStart("train_ab"),
  rand_R: toldByCheckpoint("rand_R"),
  virtual_tokens: toldByCheckpoint("virtual_tokens"),
  sparsity: inTrainingAlone,
  sparse_method: inTrainingAlone,
  sparse_schedule: inTrainingAlone,
  sparse_start: inTrainingAlone,
  sparse_end: inTrainingAlone,
  l1_weight: inTrainingAlone,
  layers: ofLayers,
  modules_to_save: ofLayers,
  rank_pattern: ofLayers,
  prefix_projection: atStart("prefix_projection"),
  encoder_hidden_size: atStart("encoder_hidden_size"),
  encoder_reparameterization_type: atStart("encoder_reparameterization_type"),
  encoder_num_layers: atStart("encoder_num_layers"),
  prompt_init_text: atStart("prompt_init_text"),
  adapter_init: starts,
  load_order: [besideCheckpoint],
  device: always,
  threads: always,
  gradients: always,
  overwrite: always,
  ckpt: always,
  seed: starts,
  precision: always,
  input: always,
  out: always,
};
