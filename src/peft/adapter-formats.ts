import { flag, JsonFields, positive, share, size, type Kind } from "../core/json-fields.js";
import type { JsonObject } from "../core/json-file.js";
import type { LinearModule } from "../models/adapter.js";
import type { MoraType } from "./method.js";
import { moraSide } from "./mora.js";
import { namePeftTargets, peftPattern, peftTargets } from "./adapter-targets.js";

/** What an adapter's files are checked against: the model that it belongs to. */
export interface AdapterBase {
  readonly modules: readonly LinearModule[];
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

export interface AdaptedModule {
  readonly rank: number;
  /** LoRA and its kin only: the update is scaled by alpha / rank, rsLoRA's by alpha / sqrt(rank). */
  readonly alpha?: number;
  /** HiLoRA only: the rank of its additive part, whose scale is alpha / additiveRank. */
  readonly additiveRank?: number;
}

/** An adapter of small matrices beside linear layers. */
export interface LowRankAdapter {
  readonly method: "hira" | "lora" | "rslora" | "dora" | "mora" | "hilora" | "sparse-lora";
  /** Where the base model was when the adapter was made, if the files say so. */
  readonly baseModel: string | undefined;
  /** By module path. */
  readonly modules: ReadonlyMap<string, AdaptedModule>;
  /** On the layer's input, in training. */
  readonly dropout: number;
  /** HiRA with a frozen random matrix R in place of W0 (--rand_R). */
  readonly randomR: boolean;
  /** MoRA only. */
  readonly moraType?: MoraType;
  /** Sparse LoRA only: the share of zeros that it was trained for. */
  readonly sparsity?: number;
}

/** An adapter of virtual tokens; what trained them (an encoder, a projection) is not in peft's files. */
export interface PromptAdapter {
  readonly method: "prefix" | "p-tuning" | "prompt-tuning";
  readonly baseModel: string | undefined;
  readonly virtualTokens: number;
}

export type AdapterDescription = LowRankAdapter | PromptAdapter;

/** One tensor of an adapter's file, and whose value it is. */
export interface AdapterTensor {
  /** `<module path>.A`, or `table`, `embedding` for virtual tokens. */
  readonly name: string;
  readonly fileName: string;
  readonly shape: readonly number[];
}

/** One way to lay out an adapter folder: which configs it reads, and what stands in the two files. */
export interface AdapterFormat<D extends AdapterDescription = AdapterDescription> {
  /** For errors: whose files these are. */
  readonly title: string;
  /** Whether a config is of this format; the first format that says so reads it. */
  reads(config: JsonObject): boolean;
  /** Whether it can hold an adapter; the first format that says so writes it. Absent: only read. */
  writes?(adapter: AdapterDescription): adapter is D;
  parse(config: JsonObject, base: AdapterBase, faults: string[]): D;
  /** Another config by which the tensors may have been made; tried where they do not fit the first. */
  otherReading?(config: JsonObject): JsonObject | undefined;
  /** The method's own fields of adapter_config.json, peft_type among them. */
  configOf(adapter: D, base: AdapterBase): JsonObject;
  tensors(adapter: D, base: AdapterBase): readonly AdapterTensor[];
  /** Ends of tensor names in the file -> ends of our parameter names. */
  readonly aliases: Readonly<Record<string, string>>;
}

/** Fields without a meaning for the numbers, whatever they say. */
const neutralFields = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "fan_in_fan_out",
  "hira_note",
  "inference_mode",
  "peft_type",
  "peft_version",
  "revision",
]);

const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === false ||
  value === "none" ||
  (typeof value === "object" && Object.keys(value).length === 0);

/** What is neither known nor empty could change the numbers: a variant of a method is not read as the method. */
const checkOtherFields = (
  config: JsonObject,
  known: readonly string[],
  fields: JsonFields,
): void => {
  for (const [name, value] of Object.entries(config))
    if (!neutralFields.has(name) && !known.includes(name) && !isEmpty(value))
      fields.fault(name, "none: it is not supported here");
};

const checkTask = (fields: JsonFields): void => {
  if ((fields.value("task_type") ?? "CAUSAL_LM") !== "CAUSAL_LM")
    fields.fault("task_type", '"CAUSAL_LM"');
};

const baseModelOf = (config: JsonObject): string | undefined =>
  typeof config.base_model_name_or_path === "string" ? config.base_model_name_or_path : undefined;

const commonConfig = (adapter: AdapterDescription): JsonObject => ({
  auto_mapping: null,
  base_model_name_or_path: adapter.baseModel ?? null,
  inference_mode: true,
  modules_to_save: null,
  revision: null,
  task_type: "CAUSAL_LM",
});

/** The shapes of one module's tensors by their short names: what the method's `parameters` says, from an adapter's files. */
const shapesOf = (
  { method, randomR, moraType = 6 }: LowRankAdapter,
  { rank, additiveRank = rank }: AdaptedModule,
  module: LinearModule,
): Readonly<Record<string, readonly number[]>> => {
  const { inFeatures, outFeatures } = module;
  if (method === "mora") {
    const side = moraSide(module, { rank, moraType });
    return { M: [side, side] };
  }
  return {
    A: [rank, inFeatures],
    B: [outFeatures, rank],
    ...(randomR && { R: [outFeatures, inFeatures] }),
    ...(method === "dora" && { magnitude: [outFeatures] }),
    ...(method === "hilora" && {
      loraA: [additiveRank, inFeatures],
      loraB: [outFeatures, additiveRank],
    }),
  };
};

/** The tensors of an adapter's modules, by their ends in the file. */
const lowRankTensors = (
  adapter: LowRankAdapter,
  base: AdapterBase,
  suffixes: Readonly<Record<string, string>>,
): readonly AdapterTensor[] =>
  base.modules.flatMap((module) => {
    const { path } = module;
    const adapted = adapter.modules.get(path);
    if (adapted === undefined) return [];
    const shapes = shapesOf(adapter, adapted, module);
    return Object.entries(shapes).map(([short, shape]) => ({
      name: `${path}.${short}`,
      fileName: `base_model.model.${path}.${suffixes[short] ?? short}`,
      shape,
    }));
  });

const aliasesOf = (suffixes: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(suffixes).map(([short, suffix]) => [suffix, short]));

/** The value that most modules have is the config's; the others stand in a pattern, by their whole path. */
const splitPattern = (
  values: ReadonlyMap<string, number>,
): { readonly common: number; readonly pattern: Readonly<Record<string, number>> } => {
  const counts = new Map<number, number>();
  for (const value of values.values()) counts.set(value, (counts.get(value) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 0;
  return {
    common,
    pattern: Object.fromEntries([...values].filter(([, value]) => value !== common)),
  };
};

const targetConfig = (adapter: LowRankAdapter, base: AdapterBase): JsonObject => {
  const ranks = splitPattern(new Map([...adapter.modules].map(([path, { rank }]) => [path, rank])));
  return {
    exclude_modules: null,
    fan_in_fan_out: false,
    layers_pattern: null,
    layers_to_transform: null,
    r: ranks.common,
    rank_pattern: ranks.pattern,
    target_modules: namePeftTargets([...adapter.modules.keys()], base.modules),
  };
};

const targetFields = [
  "exclude_modules",
  "layers_pattern",
  "layers_to_transform",
  "r",
  "rank_pattern",
  "target_modules",
  "task_type",
];

const isHira =
  (randomR: boolean) =>
  (adapter: AdapterDescription): adapter is LowRankAdapter =>
    adapter.method === "hira" && adapter.randomR === randomR;

const hiraFormat = ({
  peftType,
  title,
  randomR,
  note,
}: {
  readonly peftType: string;
  readonly title: string;
  readonly randomR: boolean;
  readonly note?: string;
}): AdapterFormat<LowRankAdapter> => {
  const suffixes = { A: "hira_A", B: "hira_B", ...(randomR && { R: "hira_R" }) };
  return {
    title,
    reads: (config) => config.peft_type === peftType,
    writes: isHira(randomR),
    parse(config, base, faults) {
      const fields = new JsonFields(config, "", faults);
      const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
      const targets = peftTargets(fields, base.modules);
      checkTask(fields);
      // init_weights says how training began, and the weights are here.
      checkOtherFields(config, [...targetFields, "hira_dropout", "init_weights"], fields);
      return {
        method: "hira",
        baseModel: baseModelOf(config),
        modules: new Map(targets.map(({ path }) => [path, { rank: rankOf(path) }])),
        dropout: fields.optional("hira_dropout", share, 0),
        randomR,
      };
    },
    // peft 0.21.2 reads rank_pattern, but makes every HiRA layer with rank r (dispatch_default of tuners/hira/layer.py).
    otherReading: (config) =>
      isEmpty(config.rank_pattern ?? null) ? undefined : { ...config, rank_pattern: {} },
    configOf: (adapter, base) => ({
      ...commonConfig(adapter),
      ...targetConfig(adapter, base),
      ...(note !== undefined && { hira_note: note }),
      hira_dropout: adapter.dropout,
      init_weights: true,
      peft_type: peftType,
    }),
    tensors: (adapter, base) => lowRankTensors(adapter, base, suffixes),
    aliases: aliasesOf(suffixes),
  };
};

/** HiRA of the peft package: `hira_A` [rank, in], `hira_B` [out, rank]. Source: peft 0.21.2, tuners/hira. */
const peftHira = hiraFormat({ peftType: "HIRA", title: "peft's HiRA", randomR: false });

/** peft has no R, and would leave it out without an error: a type that it does not know is refused there. */
const hiraWithR = hiraFormat({
  peftType: "HIRA_RAND_R",
  title: "HiRA with --rand_R",
  randomR: true,
  note: "y = x W0^T + x (R * (B A))^T with a frozen random R; the peft package has no such method",
});

const authorsSuffixes = { A: "lora_A", B: "lora_B", R: "lora_R" };

/**
 * The HiRA authors' own files, which say LORA and differ from it by `r_ab`, and by names without `.weight`.
 *
 * Read as LoRA they would give wrong numbers without any error. Source: hqsiswiliam/hira, hira/tuners/lora.py.
 */
const authorsHira: AdapterFormat<LowRankAdapter> = {
  title: "the authors' HiRA",
  reads: (config) => config.peft_type === "LORA" && "r_ab" in config,
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rank = fields.number("r_ab", size);
    const names = fields.value("target_modules");
    const isList = Array.isArray(names) && names.every((name) => typeof name === "string");
    if (!isList) fields.fault("target_modules", "a list of names");
    // Unlike peft's, these names need no dot in front of them.
    const targets = base.modules.filter(
      ({ path }) => isList && names.some((name) => path.endsWith(name)),
    );
    checkTask(fields);
    const withoutEffect = ["init_a", "init_b", "lora_alpha", "lora_dropout", "scale_ab"];
    const ofTraining = ["train_a", "train_b", "init_lora_weights", "r"];
    checkOtherFields(
      config,
      ["r_ab", "rand_R", "target_modules", "task_type", ...withoutEffect, ...ofTraining],
      fields,
    );
    return {
      method: "hira",
      baseModel: baseModelOf(config),
      modules: new Map(targets.map(({ path }) => [path, { rank }])),
      dropout: 0,
      randomR: fields.optional("rand_R", flag, false),
    };
  },
  configOf() {
    throw new TypeError("Cannot write the authors' HiRA: expected peft's format");
  },
  tensors: (adapter, base) => lowRankTensors(adapter, base, authorsSuffixes),
  aliases: aliasesOf(authorsSuffixes),
};

const loraSuffixes = {
  A: "lora_A.weight",
  B: "lora_B.weight",
  magnitude: "lora_magnitude_vector",
};

/** Start values that leave the base model as it is; PiSSA, OLoRA, CorDA and LoftQ change it. */
const harmlessInits: readonly unknown[] = [undefined, true, false, "gaussian", "eva", "orthogonal"];

/** LoRA, rsLoRA and DoRA of the peft package; Sparse LoRA as LoRA with a note. Source: peft 0.21.2, tuners/lora. */
const peftLora: AdapterFormat<LowRankAdapter> = {
  title: "peft's LoRA",
  reads: (config) => config.peft_type === "LORA",
  writes: (adapter): adapter is LowRankAdapter =>
    ["lora", "rslora", "dora", "sparse-lora"].includes(adapter.method),
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const alpha = fields.optional("lora_alpha", positive, 8);
    const alphaOf = peftPattern(fields, "alpha_pattern", alpha);
    const targets = peftTargets(fields, base.modules);
    const isRsLora = fields.optional("use_rslora", flag, false);
    const isDora = fields.optional("use_dora", flag, false);
    if (isRsLora && isDora) fields.fault("use_rslora", "false beside use_dora");
    if (!harmlessInits.includes(fields.value("init_lora_weights")))
      fields.fault(
        "init_lora_weights",
        "true, false, gaussian, eva or orthogonal: others also change the base model",
      );
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

const moraSuffixes = { M: "lora_A.weight" };
const moraTypes: Kind<MoraType> = {
  name: "1 or 6",
  is: (value): value is MoraType => value === 1 || value === 6,
};

/**
 * MoRA as its authors' fork of peft writes it: LORA with `use_mora`, and M as `lora_A` [side, side].
 *
 * The peft package refuses the tensors: they are no LoRA of rank r. Source: kongds/MoRA, peft-mora/src/peft/tuners/lora.
 */
const moraFormat: AdapterFormat<LowRankAdapter> = {
  title: "MoRA",
  reads: (config) => config.peft_type === "LORA" && config.use_mora === true,
  writes: (adapter): adapter is LowRankAdapter => adapter.method === "mora",
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const targets = peftTargets(fields, base.modules);
    checkTask(fields);
    const withoutEffect = ["alpha_pattern", "init_lora_weights", "lora_alpha", "use_mora"];
    checkOtherFields(
      config,
      [...targetFields, "bias", "lora_dropout", "mora_type", ...withoutEffect],
      fields,
    );
    return {
      method: "mora",
      baseModel: baseModelOf(config),
      modules: new Map(targets.map(({ path }) => [path, { rank: rankOf(path) }])),
      dropout: fields.optional("lora_dropout", share, 0),
      randomR: false,
      moraType: fields.optional("mora_type", moraTypes, 1),
    };
  },
  configOf: (adapter, base) => ({
    ...commonConfig(adapter),
    ...targetConfig(adapter, base),
    bias: "none",
    hira_note:
      "y = x W0^T + decompress(compress(x) M^T), for the peft fork of github.com/kongds/MoRA; the peft package has no MoRA",
    init_lora_weights: true,
    lora_dropout: adapter.dropout,
    mora_type: adapter.moraType ?? 6,
    peft_type: "LORA",
    use_mora: true,
  }),
  tensors: (adapter, base) => lowRankTensors(adapter, base, moraSuffixes),
  aliases: aliasesOf(moraSuffixes),
};

const hiloraSuffixes = {
  A: "hira_A",
  B: "hira_B",
  loraA: "lora_A.weight",
  loraB: "lora_B.weight",
};

/** HiRA and LoRA on the same layers, which peft cannot hold in one adapter: a type that it refuses. */
const hiloraFormat: AdapterFormat<LowRankAdapter> = {
  title: "HiLoRA",
  reads: (config) => config.peft_type === "HILORA",
  writes: (adapter): adapter is LowRankAdapter => adapter.method === "hilora",
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rankOf = peftPattern(fields, "rank_pattern", fields.number("r", size));
    const additiveRank = fields.number("r_lora", size);
    const alpha = fields.number("lora_alpha", positive);
    const targets = peftTargets(fields, base.modules);
    checkTask(fields);
    checkOtherFields(config, [...targetFields, "lora_alpha", "lora_dropout", "r_lora"], fields);
    return {
      method: "hilora",
      baseModel: baseModelOf(config),
      modules: new Map(
        targets.map(({ path }) => [path, { rank: rankOf(path), alpha, additiveRank }]),
      ),
      dropout: fields.optional("lora_dropout", share, 0),
      randomR: false,
    };
  },
  configOf(adapter, base) {
    const [first] = adapter.modules.values();
    return {
      ...commonConfig(adapter),
      ...targetConfig(adapter, base),
      hira_note:
        "y = x (W0 * (1 + B A))^T + lora_alpha / r_lora * x loraA^T loraB^T; the peft package has no such method",
      lora_alpha: first?.alpha ?? 1,
      lora_dropout: adapter.dropout,
      peft_type: "HILORA",
      r_lora: first?.additiveRank ?? 1,
    };
  },
  tensors: (adapter, base) => lowRankTensors(adapter, base, hiloraSuffixes),
  aliases: aliasesOf(hiloraSuffixes),
};

/**
 * Methods of virtual tokens: one tensor, `prompt_embeddings` [virtual tokens, width], which is what the encoder gave.
 *
 * Source: peft 0.21.2, tuners/{prefix_tuning,p_tuning,prompt_tuning} and BasePromptEncoder.
 */
const promptFormat = (entry: {
  readonly method: PromptAdapter["method"];
  readonly peftType: string;
  readonly title: string;
  readonly parameter: string;
  readonly widthOf: (base: AdapterBase) => number;
  /** token_dim and num_attention_heads as peft works them out. */
  readonly sizesOf: (base: AdapterBase) => readonly [tokenDim: number, heads: number];
  /** Fields that shaped training only. */
  readonly trainingFields: readonly string[];
  readonly ownConfig: JsonObject;
}): AdapterFormat<PromptAdapter> => ({
  title: entry.title,
  reads: (config) => config.peft_type === entry.peftType,
  writes: (adapter): adapter is PromptAdapter => adapter.method === entry.method,
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const [tokenDim, heads] = entry.sizesOf(base);
    const expected = {
      token_dim: tokenDim,
      num_attention_heads: heads,
      num_layers: base.layers,
      num_transformer_submodules: 1,
    };
    for (const [name, value] of Object.entries(expected))
      if ((fields.value(name) ?? value) !== value)
        fields.fault(name, `${String(value)} for this model`);
    checkTask(fields);
    checkOtherFields(
      config,
      ["num_virtual_tokens", "task_type", ...Object.keys(expected), ...entry.trainingFields],
      fields,
    );
    return {
      method: entry.method,
      baseModel: baseModelOf(config),
      virtualTokens: fields.number("num_virtual_tokens", size),
    };
  },
  configOf(adapter, base) {
    const [tokenDim, heads] = entry.sizesOf(base);
    return {
      ...commonConfig(adapter),
      ...entry.ownConfig,
      num_attention_heads: heads,
      num_layers: base.layers,
      num_transformer_submodules: 1,
      num_virtual_tokens: adapter.virtualTokens,
      peft_type: entry.peftType,
      token_dim: tokenDim,
    };
  },
  tensors: ({ virtualTokens }, base) => [
    {
      name: entry.parameter,
      fileName: "prompt_embeddings",
      shape: [virtualTokens, entry.widthOf(base)],
    },
  ],
  aliases: { prompt_embeddings: entry.parameter },
});

/** Prefix tuning: row v of the table is [layer, key | value, key/value head, headDim], flattened. */
const peftPrefix = promptFormat({
  method: "prefix",
  peftType: "PREFIX_TUNING",
  title: "peft's prefix tuning",
  parameter: "table",
  widthOf: ({ layers, kvHeads, headDim }) => layers * 2 * kvHeads * headDim,
  sizesOf: ({ kvHeads, headDim }) => [kvHeads * headDim, kvHeads],
  trainingFields: ["encoder_hidden_size", "init_weights", "prefix_projection"],
  ownConfig: { encoder_hidden_size: null, prefix_projection: false },
});

/** p-tuning: what its encoder gave at the end. */
const peftPTuning = promptFormat({
  method: "p-tuning",
  peftType: "P_TUNING",
  title: "peft's p-tuning",
  parameter: "embedding",
  widthOf: ({ hiddenSize }) => hiddenSize,
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "encoder_dropout",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
  ],
  ownConfig: {
    encoder_dropout: 0,
    encoder_hidden_size: null,
    encoder_num_layers: 2,
    encoder_reparameterization_type: "MLP",
  },
});

const peftPromptTuning = promptFormat({
  method: "prompt-tuning",
  peftType: "PROMPT_TUNING",
  title: "peft's prompt tuning",
  parameter: "embedding",
  widthOf: ({ hiddenSize }) => hiddenSize,
  sizesOf: ({ hiddenSize, heads }) => [hiddenSize, heads],
  trainingFields: [
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
  ],
  ownConfig: { prompt_tuning_init: "RANDOM", prompt_tuning_init_text: null },
});

/**
 * Every layout, in the order in which a config is offered to them: the authors' HiRA and MoRA must come before LoRA.
 *
 * Names of tensors are tried in this order too: `lora_A` is HiLoRA's loraA where there is one, else LoRA's A.
 */
export const adapterFormats: readonly AdapterFormat[] = [
  peftHira,
  hiraWithR,
  authorsHira,
  hiloraFormat,
  moraFormat,
  peftLora,
  peftPrefix,
  peftPTuning,
  peftPromptTuning,
];
