import type { Compat } from "../core/compat.js";
import { defaultOf, type FlagFault, type Flags, type ValuesOf } from "../core/flag.js";

/** When a flag of a method counts. */
export type Phase =
  /** What was trained computes with it, so its files tell it: it is checked against them. */
  | "trained"
  /** It shapes the parameters where a method is put onto a model. */
  | "start"
  /** It acts while training alone. */
  | "training";

/** What reading flags may depend on beside their values. What is wrong is added to `faults`. */
export interface ReadContext {
  readonly compat: Compat;
  readonly faults: FlagFault[];
}

/** A few flags that belong together, and the options of a method that they set. Methods that share options share a group. */
export interface OptionGroup<Table extends Flags = Flags, Options extends object = object> {
  /** By their names, with defaults and help. */
  readonly flags: Table;
  readonly phase: Phase;
  /** What the flags' defaults say. */
  readonly defaults: Options;
  /** The options that the flags set. */
  read(values: ValuesOf<Table>, context: ReadContext): Options;
  /** What --compat makes of the options. */
  ofCompat?(compat: Compat): Partial<Options>;
  /** Of a trained adapter's options, what its flags would have said: for phase "trained", and where an adapter's files tell more. */
  valuesOf?(options: Options): ValuesOf<Table>;
  /** A flag -> the flag that a value of null leaves it to. */
  readonly nullMeans?: Readonly<Record<string, string>>;
  /** A flag -> the other flag, of the group too, beside whose value alone it counts. */
  readonly onlyWith?: Readonly<Record<string, FlagValue>>;
  /** True for a rank, which comparisons of runs show. */
  readonly isRank?: true;
  /** What is wrong with these options for a method that has no use for them. */
  misplaced?(options: Options, place: Misplacement): FaultOfOptions | undefined;
}

/** Where options stand that nobody reads. */
export interface Misplacement {
  readonly peftType: string;
  /** The values of --peft_type that have a use for them. */
  readonly suitable: readonly string[];
  /** Why the method lacks an option, by the option's name, where it says so. */
  readonly lacks: Readonly<Record<string, string>>;
}

/** A sentence on what is wrong, and one on what to do. */
export interface FaultOfOptions {
  readonly message: string;
  readonly hint?: string;
}

/** A flag with a value that it must have. */
export interface FlagValue {
  readonly flag: string;
  readonly is: boolean | number | string;
}

type OptionsOfGroup<Group> =
  Group extends OptionGroup<infer _Table, infer Options> ? Options : never;
type TableOfGroup<Group> = Group extends OptionGroup<infer Table> ? Table : never;

type UnionToIntersection<Union> = (Union extends unknown ? (each: Union) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

/** One object type in place of an intersection, which is easier to read in errors. */
type Flat<T> = { [Name in keyof T]: T[Name] };

/** The options of a list of groups together. */
export type OptionsOf<Groups extends readonly OptionGroup[]> = Groups extends readonly []
  ? object
  : Flat<UnionToIntersection<OptionsOfGroup<Groups[number]>>>;

/** The flags of a list of groups together. */
export type FlagsOf<Groups extends readonly OptionGroup[]> = Flat<
  UnionToIntersection<TableOfGroup<Groups[number]>>
>;

/**
 * A group of options, whose defaults are those of its flags.
 *
 * `beside` are flags of other groups whose values `read` looks at too.
 */
export const defineOptions = <
  const Table extends Flags,
  Options extends object,
  const Beside extends Flags = Readonly<Record<never, never>>,
>({
  beside,
  read,
  ...group
}: Omit<OptionGroup<Table, Options>, "defaults" | "read"> & {
  readonly beside?: Beside;
  readonly read: (values: ValuesOf<Table> & ValuesOf<Beside>, context: ReadContext) => Options;
}): OptionGroup<Table, Options> => {
  const values = Object.fromEntries(
    Object.entries({ ...beside, ...group.flags } as Flags).map(([name, flag]) => [
      name,
      defaultOf(flag),
    ]),
  ) as ValuesOf<Table> & ValuesOf<Beside>;
  return { ...group, read, defaults: read(values, { compat: new Set(), faults: [] }) };
};
