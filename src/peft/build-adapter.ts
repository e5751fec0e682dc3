import type { Compat } from "../core/compat.js";
import { UserError } from "../core/errors.js";
import { describeTokens, unknownIds } from "../core/unknown-tokens.js";
import { isClassifier } from "../models/classifier.js";
import { adaptableModules, type Model } from "../models/model.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "./adapter.js";
import type {
  AdapterBase,
  AdapterDescription,
  LowRankAdapter,
  PromptAdapter,
} from "./formats/format.js";
import { kaimingUniform, namedInitializers } from "./init.js";
import {
  defaultSparsity,
  type EncoderType,
  type MethodOptions,
  type MoraType,
  type PeftMethod,
  type SparsitySettings,
} from "./method.js";
import { addSavedModules, namesBeside, saveableTensors, withoutSaved } from "./modules-to-save.js";
import type { QloraAdapter } from "./qlora.js";
import { methodOf, peftMethods, type PeftType } from "./registry.js";
import { inLayers, matchRankPattern, selectTargets } from "./targets.js";
import { createVirtualAdapter } from "./virtual-tokens.js";

/** What the flags say of a method; see cli/options.ts. */
export interface AdapterSettings {
  readonly rank: number;
  readonly loraAlpha: number;
  /** The scale alpha / sqrt(rank), of lora and its kin; rslora has no other. */
  readonly useRslora: boolean;
  /** In training; where it is absent, nothing is dropped. */
  readonly loraDropout?: number;
  /** The rank of HiLoRA's additive part. */
  readonly rLora: number;
  readonly moraType: MoraType;
  /** As given: endings of module names with commas between them, see selectTargets. */
  readonly targetModules: string;
  /** Numbers of the layers that get adapters; undefined for all. */
  readonly layers: readonly number[] | undefined;
  /** Ends of the paths of modules that train in full beside the adapter; see addSavedModules. */
  readonly modulesToSave: readonly string[];
  /** Ranks in place of `rank`, by patterns of module paths; see matchRankPattern. */
  readonly rankPattern: ReadonlyMap<string, number>;
  /** Names of namedInitializers. */
  readonly initAb: { readonly A: string; readonly B: string };
  readonly trainAb: { readonly A: boolean; readonly B: boolean };
  readonly randR: boolean;
  readonly sparsity: SparsitySettings;
  readonly virtualTokens: number;
  readonly prefixProjection: boolean;
  /** Undefined: as wide as what the encoder makes virtual tokens from. */
  readonly encoderHiddenSize: number | undefined;
  readonly encoderType: EncoderType;
  readonly encoderLayers: number;
  /** Undefined: a random start. */
  readonly promptInitText: string | undefined;
  /** What qlora trains; without a meaning for every other method. */
  readonly qloraAdapter: QloraAdapter;
}

/** What turns text into token ids and back: a tokenizer. */
interface TextEncoder {
  encode(text: string): readonly number[];
  decode(ids: readonly number[]): string;
}

const initializer = (name: string) => namedInitializers[name] ?? kaimingUniform;

/**
 * The adapter that the flags describe.
 *
 * @throws {UserError} if a target matches nothing, or the rank does not fit
 */
export const buildAdapter = (
  peftType: PeftType,
  model: Model,
  settings: AdapterSettings,
  compat: Compat,
  tokenizer?: TextEncoder,
): Adapter => {
  const named = methodOf(peftType, settings.qloraAdapter);
  const method = settings.useRslora ? rankStabilized(named) : named;
  const options: MethodOptions = {
    rank: settings.rank,
    alpha: settings.loraAlpha,
    rankStabilized: settings.useRslora,
    dropout: settings.loraDropout ?? 0,
    additiveRank: settings.rLora,
    moraType: settings.moraType,
    initA: initializer(settings.initAb.A),
    initB: initializer(settings.initAb.B),
    trainA: settings.trainAb.A,
    trainB: settings.trainAb.B,
    randomR: settings.randR,
    biasTwice: compat.has("rand-r"),
    sparsity: peftType === "sparse-lora" ? settings.sparsity : undefined,
    virtualTokens: settings.virtualTokens,
    prefixProjection: settings.prefixProjection,
    encoderHiddenSize: settings.encoderHiddenSize,
    encoderType: settings.encoderType,
    encoderLayers: settings.encoderLayers,
    promptInitIds:
      settings.promptInitText === undefined
        ? []
        : encodeInitText(settings.promptInitText, method, model, tokenizer),
    masksPadding: !compat.has("mask"),
  };
  if (options.dropout > 0 && method.reads.dropout === undefined)
    throw new UserError(
      `Cannot use --lora_dropout=${String(options.dropout)} with --peft_type=${peftType}: expected 0, ${peftType === "hira" ? "since HiRA drops nothing (in train_hira.py its lora_dropout is without effect)" : "or a method with LoRA's path"}`,
      "Dropout is for lora, rslora, dora, mora, hilora and sparse-lora",
    );
  if (method.kind !== "linear") refuseLinearFlags(peftType, settings);
  if (method.kind === "virtual" && isClassifier(model))
    throw new UserError(
      `Cannot classify with --peft_type=${peftType}: found virtual tokens, expected a method that changes weights, such as hira or lora`,
    );
  if (method.kind === "virtual") return createVirtualAdapter(method, options, model);
  if (method.kind === "full") return createFullAdapter(method, options, model.tensors);
  if (settings.randR && method.name !== "hira")
    throw new UserError(
      `Cannot use --rand_R with --peft_type=${peftType}: expected hira, whose W0 it replaces`,
    );
  const modulesToSave = namesBeside(model, settings.modulesToSave);
  const selected = selectTargets(adaptableModules(model), settings.targetModules, {
    asWritten: compat.has("targets"),
  });
  const left = withoutSaved(selected, modulesToSave);
  if (left.length === 0)
    throw new UserError(
      `Cannot adapt --target_modules=${settings.targetModules}: found all of them among --modules_to_save, expected others`,
    );
  const targets = inLayers(left, settings.layers, model.layers);
  const ranks = matchRankPattern(settings.rankPattern, targets);
  const adapter = createLinearAdapter(method, options, targets, ({ path }) => {
    const rank = ranks.get(path);
    return rank === undefined ? {} : { rank };
  });
  return addSavedModules(adapter, modulesToSave, model);
};

/** The method with rsLoRA's scale. @throws {UserError} if it has no such scale */
const rankStabilized = (method: PeftMethod): PeftMethod => {
  if (method.name === "lora") return peftMethods.rslora;
  if (method.reads.rankStabilized !== undefined) return method;
  throw new UserError(
    `Cannot use --use_rslora with --peft_type=${method.name}: expected lora, dora or sparse-lora, whose scale it is`,
  );
};

/** @throws {UserError} listing the flags that only methods with adapted layers have a use for */
const refuseLinearFlags = (peftType: PeftType, settings: AdapterSettings): void => {
  const given = [
    ...(settings.layers === undefined ? [] : ["--layers"]),
    ...(settings.rankPattern.size === 0 ? [] : ["--rank_pattern"]),
    ...(settings.modulesToSave.length === 0 ? [] : ["--modules_to_save"]),
  ];
  if (given.length > 0)
    throw new UserError(
      `Cannot use ${given.join(", ")} with --peft_type=${peftType}: expected a method that changes linear layers, such as hira or lora`,
    );
};

/** The tokens of --prompt_init_text, without special ones. @throws {UserError} without a use, a tokenizer or a token */
const encodeInitText = (
  text: string,
  { name }: PeftMethod,
  { vocabSize }: Model,
  tokenizer: TextEncoder | undefined,
): readonly number[] => {
  const refuse = (found: string, expected: string): never => {
    throw new UserError(
      `Cannot start from --prompt_init_text=${JSON.stringify(text)}: found ${found}, expected ${expected}`,
    );
  };
  if (name !== "prompt-tuning") return refuse(`--peft_type ${name}`, "prompt-tuning");
  if (!tokenizer) return refuse("no tokenizer in the model folder", "tokenizer.json");
  const ids = tokenizer.encode(text);
  if (ids.length === 0) return refuse("no token in it", "some text");
  const unknown = unknownIds(ids, vocabSize);
  return unknown.size === 0
    ? ids
    : refuse(
        `${describeTokens(unknown, (id) => tokenizer.decode([id]))}, which the model has no embedding for`,
        `tokens with ids from 0 to ${String(vocabSize - 1)}`,
      );
};

/** What adapter files are checked against. */
export const adapterBaseOf = (model: Model): AdapterBase => ({
  ...model,
  modules: adaptableModules(model),
  taskType: isClassifier(model) ? "SEQ_CLS" : "CAUSAL_LM",
  saveable: saveableTensors(model),
});

/** How an adapter is described in its folder; undefined for full fine-tuning, which writes a model folder. */
export const describeAdapter = (
  adapter: Adapter,
  baseModel: string,
): AdapterDescription | undefined => {
  const { method, options, targets } = adapter;
  if (method.kind === "full") return undefined;
  if (method.kind === "virtual")
    return {
      method: method.name as PromptAdapter["method"],
      baseModel,
      virtualTokens: options.virtualTokens,
      ...(method.name === "p-tuning" &&
        options.encoderType === "LSTM" && {
          encoder: "LSTM",
          encoderLayers: options.encoderLayers,
        }),
    };
  const name = method.name as LowRankAdapter["method"];
  const scaled = name !== "hira" && name !== "mora";
  return {
    method: name,
    baseModel,
    modules: new Map(
      targets.map((module) => {
        const { rank, alpha, additiveRank } = adapter.optionsOf(module);
        return [
          module.path,
          { rank, ...(scaled && { alpha }), ...(name === "hilora" && { additiveRank }) },
        ];
      }),
    ),
    dropout: options.dropout,
    randomR: name === "hira" && options.randomR,
    ...(adapter.modulesToSave && { modulesToSave: adapter.modulesToSave }),
    ...((name === "dora" || name === "sparse-lora") &&
      options.rankStabilized && { rankStabilized: true }),
    ...(name === "mora" && { moraType: options.moraType }),
    ...(name === "sparse-lora" && { sparsity: options.sparsity?.sparsity ?? 0 }),
  };
};

/** The same way back: the adapter that a folder describes. */
export const adapterOfDescription = (
  description: AdapterDescription,
  model: Model,
  compat: Compat,
): Adapter => {
  if ("virtualTokens" in description) {
    const { virtualTokens } = description;
    const { encoder, encoderLayers } = description;
    const options = {
      virtualTokens,
      masksPadding: !compat.has("mask"),
      ...(encoder && { encoderType: encoder }),
      ...(encoderLayers && { encoderLayers }),
    };
    return createVirtualAdapter(peftMethods[description.method], options, model, { baked: true });
  }
  const { dropout, method, modules, modulesToSave = [], moraType, randomR, sparsity } = description;
  const { rankStabilized = false } = description;
  const targets = adaptableModules(model).filter(({ path }) => modules.has(path));
  const options: Partial<MethodOptions> = {
    dropout,
    randomR,
    rankStabilized,
    biasTwice: compat.has("rand-r"),
    ...(moraType !== undefined && { moraType }),
    ...(sparsity !== undefined && { sparsity: { ...defaultSparsity, sparsity } }),
  };
  const adapter = createLinearAdapter(peftMethods[method], options, targets, ({ path }) => ({
    ...modules.get(path),
  }));
  return addSavedModules(adapter, modulesToSave, model);
};
