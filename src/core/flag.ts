/** The headings under which `--help` lists the flags, in this order. */
export const flagGroups = [
  "Model and method",
  "Data",
  "Training",
  "Checkpoints and evaluation",
  "Decoding",
  "Device",
  "Processes",
  "Files and output",
] as const;

interface FlagFacts {
  readonly group: (typeof flagGroups)[number];
  /** One sentence without a full stop, for `--help`. The default and the choices are added there. */
  readonly help: string;
  /** A flag of ours, which train_hira.py does not have. */
  readonly ours?: true;
}

/** True when present; takes no value. */
export interface Switch extends FlagFacts {
  readonly kind: "switch";
}

/** Takes true or false, also as yes or no, on or off, 1 or 0; `default: null` as for numbers. */
export interface BooleanFlag extends FlagFacts {
  readonly kind: "boolean";
  readonly default: boolean | null;
}

/** `default: null` is Python's None: not given, the help says what then happens. */
export interface NumberFlag extends FlagFacts {
  readonly kind: "integer" | "number";
  readonly default: number | null;
  /** The value is at least this. */
  readonly min?: number;
  /** The value is more than this. */
  readonly above?: number;
  /** The value is at most this. */
  readonly max?: number;
  readonly choices?: readonly number[];
  /** Those of the values that this version runs; the others say that they come later. */
  readonly now?: readonly number[];
}

/** A flag with a text for its value. */
export interface TextFlag extends FlagFacts {
  readonly kind: "text";
  readonly default: string | null;
  readonly placeholder: string;
  /** The value of a flag that stands without one, as argparse's nargs="?" has it; without it that is an error. */
  readonly bare?: string;
  readonly choices?: readonly string[];
  /** Those of the choices that this version runs; the others say that they come later. */
  readonly now?: readonly string[];
  /** Values beside the choices that are accepted, and how the help and the errors name them. */
  readonly alsoAccepts?: { readonly test: (text: string) => boolean; readonly words: string };
  /** Names with commas between them: in a file, a list will do. */
  readonly list?: true;
  /** In a file, true and false stand for their texts. */
  readonly takesTruth?: true;
}

/** What a flag is: its kind, its limits, its default, its help. */
export type Flag = Switch | BooleanFlag | NumberFlag | TextFlag;

/** The type of a flag's value, from its entry in the table. */
export type ValueOf<F extends Flag> = F extends Switch
  ? boolean
  : F extends BooleanFlag
    ? boolean | (F["default"] extends null ? null : never)
    : F extends NumberFlag
      ? number | (F["default"] extends null ? null : never)
      : F extends TextFlag
        ? string | (F["default"] extends null ? null : never)
        : never;

/** A command's flags by their names, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>;

/** The values of all flags of a table. */
export type ValuesOf<Table extends Flags> = {
  readonly [Name in keyof Table]: ValueOf<Table[Name]>;
};

/** Something wrong with one flag: `Cannot use <what>: found <found>, expected <expected>`. */
export interface FlagFault {
  readonly what: string;
  readonly found: string;
  readonly expected: string;
  /** What to do next; without it, a pointer to the help. Empty where the fault says all there is to say. */
  readonly hint?: string;
}

/** `a, b or c`. */
export const listed = (values: readonly (string | number)[]): string => {
  const words = values.map(String);
  const last = words.pop() ?? "";
  return words.length === 0 ? last : `${words.join(", ")} or ${last}`;
};

/** The value of a flag that is not on the command line. */
export const defaultOf = (flag: Flag): boolean | number | string | null =>
  flag.kind === "switch" ? false : flag.default;
