import { dora } from "./dora.js";
import { fft } from "./fft.js";
import { hilora } from "./hilora.js";
import { hira } from "./hira.js";
import { lora, rslora } from "./lora.js";
import { mora } from "./mora.js";
import type { LinearMethod, PeftMethod, VirtualTokenMethod } from "./method.js";
import type { FlagsOf, OptionGroup, OptionsOf, ReadContext } from "./option-group.js";
import { pTuning } from "./p-tuning.js";
import { prefix } from "./prefix.js";
import { qloraAdapters, type QloraAdapter } from "./qlora.js";
import { promptTuning } from "./prompt-tuning.js";
import { sparseLora } from "./sparse-lora.js";

/** Methods that change linear layers, by the value of --peft_type. */
export const linearMethods = {
  hira,
  lora,
  rslora,
  dora,
  mora,
  hilora,
  "sparse-lora": sparseLora,
} satisfies Readonly<Record<string, LinearMethod>>;

/** Methods of virtual tokens. */
export const virtualMethods = {
  prefix,
  "p-tuning": pTuning,
  "prompt-tuning": promptTuning,
} satisfies Readonly<Record<string, VirtualTokenMethod>>;

/** Every method by its name. */
export const peftMethods = { ...linearMethods, ...virtualMethods, fft };

/** The methods of linear layers by name. */
export type LinearMethodName = keyof typeof linearMethods;

/** The methods of virtual tokens by name. */
export type VirtualMethodName = keyof typeof virtualMethods;

/** Every method, and qlora, which is one of those of linear layers on a quantized base. */
export type PeftType = keyof typeof peftMethods | "qlora";

/** The values of --peft_type. */
export const peftTypes = [
  ...Object.keys(linearMethods),
  "qlora",
  ...Object.keys(virtualMethods),
  "fft",
] as readonly PeftType[];

/** The method that a --peft_type trains with; qlora's is what --qlora_adapter says. */
export const methodOf = (peftType: PeftType, qloraAdapter: QloraAdapter): PeftMethod =>
  peftMethods[peftType === "qlora" ? qloraAdapter : peftType];

/** The methods that a --peft_type may train with. */
export const methodsOf = (peftType: PeftType): readonly PeftMethod[] =>
  peftType === "qlora" ? qloraAdapters.map((name) => peftMethods[name]) : [peftMethods[peftType]];

/** The method that flags choose, as text; undefined where they choose none that is known. */
export const chosenMethod = (
  peftType: unknown,
  qloraAdapter: unknown = undefined,
): PeftMethod | undefined => {
  const type = peftTypes.find((known) => known === peftType);
  const adapter = qloraAdapters.find((known) => known === qloraAdapter) ?? qloraAdapters[0];
  return type && methodOf(type, adapter);
};

type AllGroups = (typeof peftMethods)[keyof typeof peftMethods]["groups"][number][];

/** The flags of all methods. */
export type MethodFlags = FlagsOf<AllGroups>;

/** The options of all methods, of which each gets its own. */
export type MethodOptions = OptionsOf<AllGroups>;

/** The groups of options of all methods, each once, in the order of the methods. */
export const optionGroups: readonly OptionGroup[] = [
  ...new Set(
    Object.values<PeftMethod>(peftMethods).flatMap(({ groups }): readonly OptionGroup[] => groups),
  ),
];

/** The flags of all methods, by their names. */
export const methodFlags = Object.assign(
  {},
  ...optionGroups.map(({ flags }) => flags),
) as MethodFlags;

/** The name of a flag of a method. */
export type MethodFlagName = keyof MethodFlags;

const groupsByFlag: ReadonlyMap<string, OptionGroup> = new Map(
  optionGroups.flatMap((group) =>
    Object.keys(group.flags).map((name): [string, OptionGroup] => [name, group]),
  ),
);

/** The group that a flag belongs to; undefined for a flag that is of no method. */
export const groupOfFlag = (name: string): OptionGroup | undefined => groupsByFlag.get(name);

/**
 * The options that flags set, of all methods.
 *
 * What the chosen method has no use for is checked too, and then has its defaults: a warning names it.
 * @param method undefined where none is chosen
 */
export const readMethodOptions = (
  values: object,
  method: PeftMethod | undefined,
  context: ReadContext,
): MethodOptions =>
  Object.assign(
    {},
    ...optionGroups.map((group) => {
      const options = group.read(values as never, context);
      return method && !method.groups.includes(group) ? group.defaults : options;
    }),
  ) as MethodOptions;
