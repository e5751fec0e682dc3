import { didYouMean, UserError, userErrorOfFaults } from "../core/errors.js";

/** The headings under which `--help` lists the flags, in this order. */
export const flagGroups = [
  "Model and method",
  "Data",
  "Training",
  "Checkpoints and evaluation",
  "Decoding",
  "Device",
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

/** One error for all faults of a command line, one a line where there are several. */
export const faultsError = (faults: readonly FlagFault[], command: string): UserError => {
  const lines = faults.map(
    ({ what, found, expected }) => `${what}: found ${found}, expected ${expected}`,
  );
  const help = `See "hira ${command} --help" for the flags and their values`;
  const hints = new Set(faults.map(({ hint = help }) => hint));
  // A pointer to the help is of little use beside better advice.
  if (hints.size > 1) hints.delete(help);
  hints.delete("");
  const hint = hints.size > 0 ? [...hints].join("\n") : undefined;
  return lines.length === 1
    ? new UserError(`Cannot use ${lines[0] ?? ""}`, hint)
    : userErrorOfFaults(`Cannot run "hira ${command}"`, lines, hint);
};

/** `a, b or c`. */
export const listed = (values: readonly (string | number)[]): string => {
  const words = values.map(String);
  const last = words.pop() ?? "";
  return words.length === 0 ? last : `${words.join(", ")} or ${last}`;
};

const kindWords = { integer: "a whole number", number: "a number" } as const;

/** "a whole number of at least 1", from the flag's limits. */
const expectedNumber = (flag: NumberFlag): string => {
  const kind = kindWords[flag.kind];
  const limits = [
    ...(flag.min === undefined ? [] : [`of at least ${String(flag.min)}`]),
    ...(flag.above === undefined ? [] : [`above ${String(flag.above)}`]),
    ...(flag.max === undefined ? [] : [`of at most ${String(flag.max)}`]),
  ];
  return [kind, limits.join(" and ")].join(" ").trim();
};

const numberForms = {
  integer: /^[+-]?\d+(?:_\d+)*$/,
  number: /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+)?$/,
} as const;

/** Python's int() and float() of a text, without their infinities and NaN; undefined if it is neither. */
const parseNumber = (kind: "integer" | "number", text: string): number | undefined => {
  const trimmed = text.trim();
  if (!numberForms[kind].test(trimmed)) return undefined;
  const value = Number(trimmed.replaceAll("_", ""));
  return kind === "integer" && !Number.isSafeInteger(value) ? undefined : value;
};

/** 2^128 - 2^104: what computes has numbers up to this. */
const largestFloat32 = 2 ** 128 - 2 ** 104;

const truths: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  "1": true,
  false: false,
  no: false,
  off: false,
  "0": false,
};

type Reading = { readonly value: boolean | number | string } | { readonly fault: FlagFault };

const comesLater = (
  name: string,
  text: string | number,
  now: readonly (string | number)[],
): Reading => ({
  fault: {
    what: `--${name}`,
    found: `${JSON.stringify(text)}, whose work comes in a later version`,
    expected: listed(now),
    hint: "",
  },
});

const readNumber = (name: string, flag: NumberFlag, text: string): Reading => {
  const value = parseNumber(flag.kind, text);
  const infinite = value !== undefined && Math.abs(value) > largestFloat32;
  const wrong =
    value === undefined ||
    infinite ||
    (flag.min !== undefined && value < flag.min) ||
    (flag.above !== undefined && value <= flag.above) ||
    (flag.max !== undefined && value > flag.max);
  const fault = (expected: string): Reading => ({
    fault: {
      what: `--${name}`,
      found: infinite
        ? `${text.trim()}, which is infinite in float32`
        : value === undefined
          ? JSON.stringify(text)
          : text.trim(),
      expected,
    },
  });
  if (wrong) return fault(expectedNumber(flag));
  if (flag.choices && !flag.choices.includes(value)) return fault(listed(flag.choices));
  if (flag.now && !flag.now.includes(value)) return comesLater(name, value, flag.now);
  return { value };
};

const readText = (name: string, flag: TextFlag, text: string): Reading => {
  const { choices, now, alsoAccepts } = flag;
  if (choices === undefined || alsoAccepts?.test(text)) return { value: text };
  if (!choices.includes(text)) {
    const expected = alsoAccepts ? `${listed(choices)}, or ${alsoAccepts.words}` : listed(choices);
    const hint = didYouMean(text, choices);
    const fault = { what: `--${name}`, found: JSON.stringify(text), expected };
    return { fault: hint === undefined ? fault : { ...fault, hint } };
  }
  if (now && !now.includes(text)) return comesLater(name, text, now);
  return { value: text };
};

/** A flag's value from its text on the command line, or what is wrong with it. Switches have no text. */
export const readFlag = (name: string, flag: Exclude<Flag, Switch>, text: string): Reading => {
  if (flag.kind === "text") return readText(name, flag, text);
  if (flag.kind !== "boolean") return readNumber(name, flag, text);
  const value = truths[text.trim().toLowerCase()];
  return value === undefined
    ? { fault: { what: `--${name}`, found: JSON.stringify(text), expected: "true or false" } }
    : { value };
};

/** The value of a flag that is not on the command line. */
export const defaultOf = (flag: Flag): boolean | number | string | null =>
  flag.kind === "switch" ? false : flag.default;
