import type { JsonFields } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { parseHubName } from "../../models/hub/hub-name.js";
import type { LinearModule } from "../../models/model.js";
import type { VirtualTokenOptions } from "../options/virtual-tokens.js";
import type { LinearMethodName, VirtualMethodName } from "../registry.js";

/** Language models, and classifiers of texts. */
export type PeftTaskType = "CAUSAL_LM" | "SEQ_CLS";

/** What an adapter's files are checked against: the model that it belongs to. */
export interface AdapterBase {
  readonly modules: readonly LinearModule[];
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly tieWordEmbeddings: boolean;
  readonly embedding: LinearModule;
  readonly head: LinearModule | undefined;
  /** What peft calls the work of the model. */
  readonly taskType: PeftTaskType;
  /** Shapes of the tensors that may train in full beside an adapter; see saveableTensors. */
  readonly saveable: ReadonlyMap<string, readonly number[]>;
}

/** An adapter of small matrices beside linear layers. */
export interface LowRankAdapter {
  readonly method: LinearMethodName;
  /** Where the base model was when the adapter was made, if the files say so. */
  readonly baseModel: string | undefined;
  /** The method's options, as far as they are known. */
  readonly options: object;
  /** By module path, the options in which the module may differ from others: its rank, its alpha. */
  readonly modules: ReadonlyMap<string, object>;
  /** Ends of the paths of modules that trained in full beside it; their tensors go by the model's names. */
  readonly modulesToSave?: readonly string[];
}

/** An adapter of virtual tokens; what trained them (an encoder, a projection) is not in peft's files. */
export interface PromptAdapter {
  readonly method: VirtualMethodName;
  readonly baseModel: string | undefined;
  /** The method's options, as far as they are known. */
  readonly options: Pick<VirtualTokenOptions, "virtualTokens">;
}

/** What an adapter's files say. */
export type AdapterDescription = LowRankAdapter | PromptAdapter;

/** One tensor of an adapter's file, and whose value it is. */
export interface AdapterTensor {
  /** `<module path>.A`, or `table`, `embedding` for virtual tokens. */
  readonly name: string;
  readonly fileName: string;
  readonly shape: readonly number[];
  /** The axes whose sizes the adapter's config says, as ranks; the model says the others. */
  readonly ownAxes: readonly number[];
}

/** One way to lay out an adapter folder: which configs it reads, and what stands in the two files. */
export interface AdapterFormat<D extends AdapterDescription = AdapterDescription> {
  /** For errors: whose files these are. */
  readonly title: string;
  /** peft_type in the config. */
  readonly peftType: string;
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

/** Whether a field asks for nothing: null, false, "none", or an empty list or object. */
export const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === false ||
  value === "none" ||
  (typeof value === "object" && Object.keys(value).length === 0);

/** What is neither known nor empty could change the numbers: a variant of a method is not read as the method. */
export const checkOtherFields = (
  config: JsonObject,
  known: readonly string[],
  fields: JsonFields,
): void => {
  for (const [name, value] of Object.entries(config))
    if (!neutralFields.has(name) && !known.includes(name) && !isEmpty(value))
      fields.fault(name, "none: it is not supported here");
};

/** Adds a fault if `task_type` is there and is not that of the base. */
export const checkTask = (
  fields: JsonFields,
  { taskType }: Pick<AdapterBase, "taskType">,
): void => {
  if ((fields.value("task_type") ?? taskType) !== taskType)
    fields.fault("task_type", `"${taskType}"`);
};

/** Where the base model was when the adapter was made, if the config says so; on the Hub with its revision, `org/name@revision`. */
export const baseModelOf = ({
  base_model_name_or_path: name,
  revision,
}: JsonObject): string | undefined => {
  if (typeof name !== "string" || name === "") return undefined;
  const hasRevision = typeof revision === "string" && revision !== "";
  const withRevision = hasRevision ? `${name}@${revision}` : name;
  return parseHubName(withRevision) ? withRevision : name;
};

/** The fields that adapter_config.json has for every method. Source: PeftConfig of peft. */
export const commonConfig = (
  { baseModel }: AdapterDescription,
  { taskType }: Pick<AdapterBase, "taskType">,
): JsonObject => ({
  auto_mapping: null,
  base_model_name_or_path: parseHubName(baseModel ?? "")?.repo ?? baseModel ?? null,
  inference_mode: true,
  modules_to_save: null,
  revision: parseHubName(baseModel ?? "")?.revision ?? null,
  task_type: taskType,
});
