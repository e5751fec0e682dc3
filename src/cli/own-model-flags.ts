import { fourBitTypes } from "../models/weights/quantize.js";
import { qloraAdapters } from "../peft/qlora.js";
import type { Flag } from "../core/flag.js";

/** The flags of ours that say what the model is and where a method goes, each marked `ours`; a method declares its own. */
export const ownModelFlags = {
  adapter: {
    ours: true,
    kind: "text",
    group: "Model and method",
    placeholder: "folder",
    default: null,
    help: "Go on training an adapter, with a fresh optimizer: a run's folder, one of its checkpoints, or a peft adapter, which may be on the Hub; it says method, ranks and layers",
  },
  adapter_init: {
    ours: true,
    kind: "text",
    group: "Model and method",
    placeholder: "file",
    default: null,
    help: "Start values by parameter name (.safetensors), in place of --init_ab",
  },
  quant_type: {
    ours: true,
    kind: "text",
    group: "Model and method",
    placeholder: "type",
    default: null,
    choices: fourBitTypes,
    help: "With 4 bits: the 16 numbers that a code stands for; if not given, nf4",
  },
  double_quant: {
    ours: true,
    kind: "boolean",
    group: "Model and method",
    default: null,
    help: "With 4 bits: hold the scales of the blocks in 8 bits too; if not given, yes",
  },
  qlora_adapter: {
    ours: true,
    kind: "text",
    group: "Model and method",
    placeholder: "name",
    default: null,
    choices: qloraAdapters,
    help: "What qlora trains beside its base; if not given, lora",
  },
  layers: {
    ours: true,
    kind: "text",
    list: true,
    group: "Model and method",
    placeholder: "numbers",
    default: null,
    help: "Layers that get adapters, counted from 0, such as 0-5,10; if not given, all",
  },
  modules_to_save: {
    ours: true,
    kind: "text",
    list: true,
    group: "Model and method",
    placeholder: "names",
    default: null,
    help: "Modules that train in full beside the adapter: endings of their names, such as lm_head,embed_tokens,norm",
  },
  rank_pattern: {
    ours: true,
    kind: "text",
    list: true,
    group: "Model and method",
    placeholder: "ranks",
    default: null,
    help: "Ranks of some modules in place of --r_ab, such as q_proj=8,layers.0.mlp.up_proj=4, or a JSON object",
  },
} as const satisfies Readonly<Record<string, Flag>>;
