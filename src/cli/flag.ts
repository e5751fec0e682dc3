import { didYouMean, UserError, userErrorOfFaults } from "../core/errors.js";
import {
  listed,
  type Flag,
  type FlagFault,
  type NumberFlag,
  type Switch,
  type TextFlag,
} from "../core/flag.js";

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
