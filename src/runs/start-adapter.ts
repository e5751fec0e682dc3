import { UserError, userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import type { Adapter } from "../peft/adapter.js";
import { refuseMisplaced } from "../peft/build-adapter.js";
import { defaultsOf, type LinearMethod, type PeftMethod } from "../peft/method.js";
import type { OptionGroup } from "../peft/option-group.js";
import { isQloraType, qloraAdapters } from "../peft/qlora.js";
import { optionGroups, type MethodOptions, type PeftType } from "../peft/registry.js";
import type { ProgressUi } from "../report/progress.js";
import type { BaseModel, BaseStorage } from "../train/load-base.js";
import { learnsClasses } from "../train/training-data.js";
import { openTrained, type TrainedModel } from "./open-trained.js";
import type { RunRecord, TrainingRunOptions } from "./training-run-options.js";

/** An adapter that a run goes on training, on its base. */
export interface AdapterStart {
  readonly base: BaseModel;
  readonly adapter: Adapter;
  /** Of its parameters, by their names. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** What the adapter brings with it, in place of the flags' defaults. */
  readonly options: Partial<MethodOptions> &
    Pick<TrainingRunOptions, "peftType" | "targetModules" | "modelName" | keyof BaseStorage>;
  /** The same as flags, for the run's records. */
  readonly flags: RunRecord["flags"];
}

/** The flags of the run that trained an adapter, which hold of a run that goes on with it. */
const inherited = [
  ...["peft_type", "qlora_adapter", "target_modules", "layers", "rank_pattern", "modules_to_save"],
  ...["task", "load_bit", "quant_type", "double_quant"],
  ...optionGroups
    .filter(({ phase }) => phase === "trained")
    .flatMap(({ flags }) => Object.keys(flags)),
];

const inheritedFrom = (runFlags: JsonObject): RunRecord["flags"] =>
  Object.fromEntries(
    inherited.flatMap((name) => {
      const value = runFlags[name];
      const isFlag = value === null || ["string", "number", "boolean"].includes(typeof value);
      return isFlag ? [[name, value as string | number | boolean | null] as const] : [];
    }),
  );

/** Flags that an adapter without its run cannot be held against: it says what they would choose. */
const layerFlags = ["layers", "rank_pattern", "modules_to_save"];

const refuse = (path: string, found: string, expected: string, hint: string): UserError =>
  new UserError(
    `Cannot go on training the adapter ${path}: found ${found}, expected ${expected}`,
    hint,
  );

/** The options of those of a method's groups that `suits` names, as they stand in `options`. */
const pick = (
  { groups }: PeftMethod,
  options: object,
  suits: (group: OptionGroup) => boolean,
): object => {
  const names = new Set(groups.filter(suits).flatMap(({ defaults }) => Object.keys(defaults)));
  return Object.fromEntries(Object.entries(options).filter(([name]) => names.has(name)));
};

/** How training differs from the use of what was trained: by the flags, where somebody wrote them. */
const trainingOf =
  (options: TrainingRunOptions) =>
  (method: LinearMethod): object => {
    const { givenFlags = {} } = options;
    const isGiven = ({ flags }: OptionGroup): boolean =>
      Object.keys(flags).some((name) => name in givenFlags);
    return pick(
      method,
      options,
      (group) => group.phase === "start" || (group.phase === "training" && isGiven(group)),
    );
  };

/** The options that most of an adapter's layers have. */
const commonOptions = (adapter: Adapter): object => {
  const counts = new Map<string, { count: number; readonly found: object }>();
  for (const module of adapter.targets) {
    const found = adapter.optionsOf(module);
    const entry = counts.get(JSON.stringify(found)) ?? { count: 0, found };
    counts.set(JSON.stringify(found), { ...entry, count: entry.count + 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count)[0]?.found ?? adapter.options;
};

/** The flags that describe an adapter. */
const describe = (adapter: Adapter, common: object, asked: unknown): RunRecord["flags"] => {
  const { method, targets } = adapter;
  const ends = targets.map(({ path }) => path.slice(path.lastIndexOf(".") + 1));
  const isQlora = isQloraType(asked) && qloraAdapters.some((name) => name === method.name);
  const options = { ...defaultsOf(method), ...common };
  return {
    peft_type: isQlora ? String(asked) : method.name,
    ...(isQlora && { qlora_adapter: method.name }),
    target_modules: [...new Set(ends)].join(),
    ...(Object.assign({}, ...method.groups.map((group) => group.valuesOf?.(options))) as object),
  };
};

/** What a folder must hold, and what the flags may not say, for training to go on with it. */
const requireTrainable = (
  path: string,
  trained: TrainedModel,
  options: TrainingRunOptions,
): Adapter => {
  const { givenFlags = {} } = options;
  const { adapted, base, runFlags } = trained;
  const { adapter } = adapted ?? {};
  if (!adapter || adapter.method.kind === "full")
    throw refuse(
      path,
      adapter ? "a model tuned in full" : "a plain model",
      "an adapter",
      `--model=${path} trains on it`,
    );
  if (adapter.method.kind === "virtual")
    throw refuse(
      path,
      `virtual tokens (${adapter.method.name})`,
      "an adapter of layers: what made the tokens in training is not in its files, as in peft",
      "--adapter_init takes start values from a file that has them",
    );
  if (base.folder !== base.original)
    throw refuse(
      path,
      "an embedding or a head of its own in its file",
      "an adapter alone",
      "Merge it into its model first (hira merge --ckpt=ADAPTER --model=BASE --out=MERGED), and train on that",
    );
  const faults = runFlags
    ? []
    : layerFlags
        .filter((name) => (givenFlags[name] ?? null) !== null)
        .map((name) => `--${name}: found ${quoteJson(givenFlags[name])}, expected none`);
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot go on training the adapter ${path}`,
      faults,
      "Leave these flags out: the adapter brings its layers with it",
    );
  refuseMisplaced(adapter.method.name as PeftType, adapter.method, options);
  return adapter;
};

/**
 * Opens what --adapter names for further training: a run's best checkpoint, one checkpoint, or a peft adapter; its optimizer is a fresh one.
 *
 * Method, ranks and layers are the adapter's, also where a run has trained it on a quantized base the way in which that is held.
 * Source: PeftModel.from_pretrained(..., is_trainable=True) of peft 0.21.2.
 * @param path of the adapter, or of a checkpoint of the run that goes on
 * @throws {UserError} if it is no adapter of layers, is for another base, or a flag contradicts it, by name
 */
export const openAdapterStart = async (
  path: string,
  options: TrainingRunOptions,
  ui: ProgressUi,
): Promise<AdapterStart> => {
  const trained = await openTrained(
    {
      ...options,
      ckpt: path,
      loadOrder: options.loadOrder ?? -1,
      modelName: options.modelFolder ?? options.modelName,
      training: trainingOf(options),
      tokenizer: options.datasetFile === undefined ? "required" : "optional",
      encoder: learnsClasses(options) ? "allowed" : "refused",
    },
    ui,
  );
  const adapter = requireTrainable(path, trained, options);
  const { runFlags, base, modelName, storage } = trained;
  const common = commonOptions(adapter);
  const own = {
    ...describe(adapter, common, options.givenFlags?.peft_type),
    ...(runFlags && inheritedFrom(runFlags)),
  };
  const values = [...(trained.adapted?.values ?? [])].map(
    ([name, tensor]) => [name, tensor.data as Float32Array] as const,
  );
  ui.line(`Going on with the adapter in ${trained.folder}`);
  return {
    base,
    adapter,
    values: new Map(values),
    options: {
      ...storage,
      ...pick(adapter.method, common, ({ phase }) => phase === "trained"),
      peftType: String(own.peft_type),
      targetModules: String(own.target_modules ?? options.targetModules),
      modelName: options.modelName ?? modelName,
    },
    flags: {
      ...own,
      model_name: options.modelName ?? modelName,
      load_bit: storage.loadBit,
    },
  };
};

/** A record in which the flags that an adapter brings have their values. */
export const withAdapterFlags = (record: RunRecord, { flags }: AdapterStart): RunRecord => {
  const original = Object.entries(flags).filter(([name]) => name in record.originalFlags);
  return {
    ...record,
    flags: { ...record.flags, ...flags },
    originalFlags: { ...record.originalFlags, ...Object.fromEntries(original) },
  };
};
