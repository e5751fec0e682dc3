import { flag, positive, share } from "../../core/json-fields.js";
import { peftPattern } from "../adapter-targets.js";
import { dora } from "../dora.js";
import { lora, rslora, type LoraOptions } from "../lora.js";
import { defaultPruning, sparseLora } from "../sparse-lora.js";
import type { Pruning } from "../pruning.js";
import { lowRankFormat, rankOf, splitPattern } from "./low-rank.js";

/** Start values that leave the base model as it is; PiSSA, OLoRA, CorDA and LoftQ change it. */
const harmlessInits: readonly unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal"];

/** What is known of the options of LoRA and its kin. */
type SomeOptions = Partial<LoraOptions> & { readonly sparsity?: Pruning };

/** LoRA, rsLoRA and DoRA of the peft package; Sparse LoRA as LoRA with a note. Source: peft 0.21.2, tuners/lora. */
export const peftLora = lowRankFormat({
  title: "peft's LoRA",
  peftType: "LORA",
  reads: (config) => config.peft_type === "LORA",
  writes: ({ method }) => [lora, rslora, dora, sparseLora].some(({ name }) => name === method),
  suffixes: {
    A: "lora_A.weight",
    B: "lora_B.weight",
    magnitude: "lora_magnitude_vector",
  },
  embeddingSuffixes: {
    A: "lora_embedding_A",
    B: "lora_embedding_B",
    magnitude: "lora_magnitude_vector",
  },
  dropoutField: "lora_dropout",
  ownFields: [
    ...["lora_alpha", "alpha_pattern", "use_rslora", "use_dora"],
    ...["init_lora_weights", "loftq_config", "corda_config", "eva_config"],
    ...["hira_sparsity", "megatron_core", "qalora_group_size", "ensure_weight_tying"],
  ],
  parseOwn(fields) {
    const alpha = fields.optional("lora_alpha", positive, 8);
    const alphaOf = peftPattern(fields, "alpha_pattern", alpha);
    const isRsLora = fields.optional("use_rslora", flag, false);
    const isDora = fields.optional("use_dora", flag, false);
    if (!harmlessInits.includes(fields.value("init_lora_weights")))
      fields.fault(
        "init_lora_weights",
        "true, false, gaussian, eva or orthogonal: others also change the base model",
      );
    const isSparse = fields.value("hira_sparsity") !== undefined;
    return {
      method: (isDora ? dora : isSparse ? sparseLora : isRsLora ? rslora : lora).name,
      ofModule: (path) => ({ alpha: alphaOf(path) }),
      options: {
        rankStabilized: isRsLora,
        ...(isSparse &&
          !isDora && {
            sparsity: { ...defaultPruning, sparsity: fields.optional("hira_sparsity", share, 0) },
          }),
      },
    };
  },
  ownConfig({ method, modules, options }) {
    const { rankStabilized = false, sparsity }: SomeOptions = options;
    const alphas = splitPattern(
      new Map(
        [...modules].map(([path, own]: readonly [string, SomeOptions]) => [
          path,
          own.alpha ?? rankOf(own),
        ]),
      ),
    );
    return {
      alpha_pattern: alphas.pattern,
      bias: "none",
      ...(method === sparseLora.name && {
        hira_note: "LoRA with this share of zeros in A and B; the peft package reads it as LoRA",
        hira_sparsity: sparsity?.sparsity ?? 0,
      }),
      init_lora_weights: true,
      lora_alpha: alphas.common,
      peft_type: "LORA",
      use_dora: method === dora.name,
      use_rslora: method === rslora.name || rankStabilized,
    };
  },
});
