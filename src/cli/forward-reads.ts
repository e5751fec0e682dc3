import type { MethodFlagName } from "../peft/registry.js";
import type { FlagValues } from "./options.js";
import { deviceReads } from "./device-options.js";
import {
  besideCheckpoint,
  changesLayers,
  inFourBits,
  isQlora,
  methodReads,
  methodReadTable,
  type MethodValues,
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

/** Here nothing is trained. */
const inTrainingAlone = [
  { decidedBy: [], isMet: () => false, otherwise: () => "outside training" },
] as const;

/** Which flags of `hira forward` are read: beside a checkpoint, with a method, and of a plain model. */
export const forwardReads = {
  ...methodReadTable<MethodValues & SourceValues>({
    trained: toldByCheckpoint,
    start: atStart,
    training: () => inTrainingAlone,
  }),
  model_name: always,
  peft_type: always,
  load_bit: always,
  quant_type: [inFourBits],
  double_quant: [inFourBits],
  qlora_adapter: [where(builds, isQlora)],
  target_modules: ofLayers,
  layers: ofLayers,
  modules_to_save: ofLayers,
  rank_pattern: ofLayers,
  adapter_init: starts,
  load_order: [besideCheckpoint],
  ...deviceReads,
  gradients: always,
  overwrite: always,
  ckpt: always,
  seed: starts,
  input: always,
  out: always,
};
