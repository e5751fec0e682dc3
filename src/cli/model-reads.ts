import { listed } from "../core/flag.js";
import type { PeftMethod } from "../peft/method.js";
import type { FlagValue, Phase } from "../peft/option-group.js";
import { isQloraType, qloraType } from "../peft/qlora.js";
import {
  chosenMethod,
  groupOfFlag,
  methodsOf,
  optionGroups,
  peftMethods,
  peftTypes,
  type MethodFlagName,
} from "../peft/registry.js";
import type { FlagValues } from "./options.js";
import { onlyWith, type Requirement } from "./reads.js";
import { effectiveLoadBit } from "./storage-options.js";

/** The flags that choose a method. */
type ChoosingValues = Pick<FlagValues, "peft_type" | "qlora_adapter">;
/** Those and the flags of methods. */
export type MethodValues = ChoosingValues & Pick<FlagValues, MethodFlagName>;

const choosing = ["peft_type", "qlora_adapter"] as const;

/** The method that the flags choose; undefined where they choose none. */
const methodOf = ({ peft_type, qlora_adapter }: ChoosingValues): PeftMethod | undefined =>
  chosenMethod(peft_type, qlora_adapter);

/** The method is one of which `suits` is true; none chosen is no reason to leave a flag unread. */
const suitableMethod = (
  suits: (method: PeftMethod) => boolean,
): Requirement<ChoosingValues> & { readonly goesWith: string } => {
  const suitable = peftTypes.filter((peftType) => methodsOf(peftType).some(suits));
  return {
    decidedBy: choosing,
    isMet(values) {
      const method = methodOf(values);
      return method === undefined || suits(method);
    },
    otherwise: ({ peft_type: peftType, qlora_adapter: adapter }) =>
      `with --peft_type=${String(peftType)}${isQloraType(peftType) && adapter !== null ? ` --qlora_adapter=${adapter}` : ""}`,
    goesWith: `--peft_type=${listed(suitable)}`,
  };
};

const valueOf = (values: MethodValues, flag: string): unknown =>
  (values as Readonly<Record<string, unknown>>)[flag];

const example = ({ flag, is }: FlagValue): string => (is === true ? flag : `${flag}=${String(is)}`);

/** The flags beside whose values alone some method reads another flag. */
const askedFlags: readonly string[] = [
  ...new Set(
    Object.values<PeftMethod>(peftMethods).flatMap((method) =>
      Object.values(method.onlyWith ?? {}).map(({ flag }) => flag),
    ),
  ),
];

/** Where the method reads the flag only beside a value of another one, that value. */
const besideValue = (flag: MethodFlagName): Requirement<MethodValues> => {
  const asked = (values: MethodValues) => methodOf(values)?.onlyWith?.[flag];
  return {
    decidedBy: [...choosing, ...askedFlags],
    isMet(values) {
      const other = asked(values);
      return other === undefined || valueOf(values, other.flag) === other.is;
    },
    otherwise(values) {
      const other = asked(values);
      return `without --${other ? example(other) : ""}`;
    },
  };
};

/** The method that the flags choose reads this flag, as it declares. */
export const methodReads = (flag: MethodFlagName): readonly Requirement<MethodValues>[] => {
  const group = groupOfFlag(flag);
  const beside = group?.onlyWith?.[flag];
  return [
    suitableMethod(({ groups }) => groups.some((each) => each === group)),
    besideValue(flag),
    ...(beside
      ? [
          {
            decidedBy: [beside.flag],
            isMet: (values: MethodValues) => valueOf(values, beside.flag) === beside.is,
            otherwise: () => `without --${example(beside)}`,
          },
        ]
      : []),
  ];
};

/** When the flags of methods are read, by what they are for. */
export const methodReadTable = <Values>(
  requirements: Readonly<Record<Phase, (flag: MethodFlagName) => readonly Requirement<Values>[]>>,
): Readonly<Record<MethodFlagName, readonly Requirement<Values>[]>> =>
  Object.fromEntries(
    optionGroups.flatMap(({ flags, phase }) =>
      Object.keys(flags).map((name) => [name, requirements[phase](name as MethodFlagName)]),
    ),
  ) as Record<MethodFlagName, readonly Requirement<Values>[]>;

/** The method changes linear layers, so that it has a use for flags that choose some. */
export const changesLayers = suitableMethod(({ kind }) => kind === "linear");

/** The method is full fine-tuning. */
export const trainsAllWeights = suitableMethod(({ kind }) => kind === "full");

/** The flag --peft_type=qlora alone reads. */
export const isQlora = onlyWith<"peft_type", string | null>(
  "peft_type",
  isQloraType,
  `peft_type=${qloraType}`,
);

/** The base's linear layers are held in 4 bits. */
export const inFourBits: Requirement<
  Pick<FlagValues, "load_bit"> & { readonly peft_type?: string | null }
> = {
  decidedBy: ["load_bit", "peft_type"],
  isMet: (values) => effectiveLoadBit(values.peft_type ?? null, values) === 4,
  otherwise: () => "without --load_bit=4",
};

/** Tokens are drawn. */
export const draws = onlyWith<"do_sample", string>(
  "do_sample",
  (text) => /^(?:yes|true)$/i.test(text),
  "do_sample=yes",
);

/** What was trained is loaded. */
export const besideCheckpoint = onlyWith<"ckpt", string | null>("ckpt", (path) => path !== null);
