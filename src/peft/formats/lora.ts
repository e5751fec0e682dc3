import { JsonFields, flag, positive, share, size } from "../../core/json-fields.js";
import { peftPattern } from "../adapter-targets.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  commonConfig,
  type AdapterFormat,
  type LowRankAdapter,
} from "./format.js";
import {
  aliasesOf,
  lowRankTensors,
  splitPattern,
  parseTargets,
  targetConfig,
  targetFields,
} from "./low-rank.js";

const loraSuffixes = {
  A: "lora_A.weight",
  B: "lora_B.weight",
  magnitude: "lora_magnitude_vector",
};

/** Start values that leave the base model as it is; PiSSA, OLoRA, CorDA and LoftQ change it. */
const harmlessInits: readonly unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal"];

/** LoRA, rsLoRA and DoRA of the peft package; Sparse LoRA as LoRA with a note. Source: peft 0.21.2, tuners/lora. */
export const peftLora: AdapterFormat<LowRankAdapter> = {
  title: "peft's LoRA",
  reads: (config) => config.peft_type === "LORA",
  writes: (adapter): adapter is LowRankAdapter =>
    ["lora", "rslora", "dora", "sparse-lora"].includes(adapter.method),
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const alpha = fields.optional("lora_alpha", positive, 8);
    const alphaOf = peftPattern(fields, "alpha_pattern", alpha);
    const { targets, saved } = parseTargets(fields, base);
    const isRsLora = fields.optional("use_rslora", flag, false);
    const isDora = fields.optional("use_dora", flag, false);
    if (isRsLora && isDora) fields.fault("use_rslora", "false beside use_dora");
    if (!harmlessInits.includes(fields.value("init_lora_weights")))
      fields.fault(
        "init_lora_weights",
        "true, false, gaussian, eva or orthogonal: others also change the base model",
      );
    if (fields.value("ensure_weight_tying") === true && saved.modulesToSave)
      fields.fault("ensure_weight_tying", "false: saved modules are copies of their own");
    checkTask(fields);
    const own = ["lora_alpha", "alpha_pattern", "lora_dropout", "use_rslora", "use_dora"];
    const ofStart = ["init_lora_weights", "loftq_config", "corda_config", "eva_config"];
    const isSparse = fields.value("hira_sparsity") !== undefined;
    const ofOthers = ["hira_sparsity", "megatron_core", "qalora_group_size", "ensure_weight_tying"];
    checkOtherFields(config, [...targetFields, ...own, ...ofStart, ...ofOthers], fields);
    return {
      method: isDora ? "dora" : isRsLora ? "rslora" : isSparse ? "sparse-lora" : "lora",
      baseModel: baseModelOf(config),
      modules: new Map(
        targets.map(({ path }) => [path, { rank: rankOf(path), alpha: alphaOf(path) }]),
      ),
      dropout: fields.optional("lora_dropout", share, 0),
      ...saved,
      randomR: false,
      ...(isSparse && { sparsity: fields.optional("hira_sparsity", share, 0) }),
    };
  },
  configOf(adapter, base) {
    const alphas = splitPattern(
      new Map([...adapter.modules].map(([path, { rank, alpha }]) => [path, alpha ?? rank])),
    );
    return {
      ...commonConfig(adapter),
      ...targetConfig(adapter, base),
      alpha_pattern: alphas.pattern,
      bias: "none",
      ...(adapter.method === "sparse-lora" && {
        hira_note: "LoRA with this share of zeros in A and B; the peft package reads it as LoRA",
        hira_sparsity: adapter.sparsity ?? 0,
      }),
      init_lora_weights: true,
      lora_alpha: alphas.common,
      lora_dropout: adapter.dropout,
      peft_type: "LORA",
      use_dora: adapter.method === "dora",
      use_rslora: adapter.method === "rslora",
    };
  },
  tensors: (adapter, base) => lowRankTensors(adapter, base, loraSuffixes),
  aliases: aliasesOf(loraSuffixes),
};
