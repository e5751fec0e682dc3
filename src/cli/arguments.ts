import { didYouMean } from "../core/errors.js";
import type { FlagFault, Flags } from "../core/flag.js";
import { foreignNameHint } from "./foreign-names.js";

/** A command line as it was understood, and every fault found in it. */
export interface ReadArguments {
  /** `--flag=value` or `--switch`, full names, in the order given; then `--` and the rest. */
  readonly canonical: readonly string[];
  /** Switches that the line takes back with `--no_<switch>`, whatever a --config file says of them. */
  readonly off: ReadonlySet<string>;
  readonly faults: readonly FlagFault[];
}

/** What argparse takes for a negative number, and so for a value rather than a flag. */
const negativeNumber = /^-(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

/** Whether `argument` can be the value of the flag before it, by argparse's rule. */
const isValue = (argument: string): boolean =>
  argument === "-" ||
  !argument.startsWith("-") ||
  negativeNumber.test(argument) ||
  // A word with a space in it is never a flag; `--exp_name=a b` does not come here.
  (argument.includes(" ") && !argument.startsWith("--"));

type Resolved = { readonly name: string } | { readonly fault: FlagFault };

/**
 * The flag that `typed` (without its dashes) names: exactly, or as an unambiguous beginning.
 *
 * Beginnings are looked for among train_hira.py's flags first, so that a flag of ours never makes a line ambiguous that
 * worked there; then among all.
 */
const resolveName = (typed: string, flags: Flags): Resolved => {
  // `help` belongs to argparse itself, so it takes part as one of the original's.
  const all = ["help", ...Object.keys(flags)];
  if (all.includes(typed)) return { name: typed };
  const original = all.filter((name) => flags[name]?.ours !== true);
  const usual = foreignNameHint(typed, flags, "--");
  const hinted = usual === undefined ? {} : { hint: usual };
  for (const names of [original, all]) {
    // A name that is usual elsewhere is no beginning of one of ours: --rank is not --rank_pattern.
    if (names === all && usual !== undefined) break;
    const candidates = names.filter((name) => name.startsWith(typed));
    const [only] = candidates;
    if (candidates.length === 1 && only !== undefined) return { name: only };
    if (candidates.length > 1)
      return {
        fault: {
          what: `--${typed}`,
          found: "an ambiguous flag",
          expected: `one of ${candidates.map((name) => `--${name}`).join(", ")}`,
          ...hinted,
        },
      };
  }
  const suggestion = didYouMean(typed, all);
  return {
    fault: {
      what: `--${typed}`,
      found: "an unknown flag",
      expected: "a flag of this command",
      ...(suggestion === undefined ? {} : { hint: suggestion.replace(/"(.*)"/, '"--$1"') }),
      ...hinted,
    },
  };
};

/** What to write for a flag with one dash: `-lr`, or `-r` of other programs. */
const hintOfOneDash = (argument: string, flags: Flags): { readonly hint?: string } => {
  const name = argument.slice(1).replace(/=.*/s, "");
  if (Object.hasOwn(flags, name)) return { hint: `Did you mean "--${name}"?` };
  const usual = foreignNameHint(name, flags, "--");
  return usual === undefined ? {} : { hint: usual };
};

/** The switch that `typed` (without its dashes) takes back: `no_` before its full name. */
const takenBack = (typed: string, flags: Flags): string | undefined => {
  const name = typed.replace(/^no_/, "");
  return name !== typed && flags[name]?.kind === "switch" ? name : undefined;
};

/**
 * A command line with full flag names and one word a flag, read as Python's argparse reads it.
 *
 * `--flag value` and `--flag=value`, unambiguous beginnings of names, negative numbers as values, `--` before words that
 * begin with a dash. `--no_<switch>` is the opposite of `--<switch>`, of which the last one counts, as transformers'
 * HfArgumentParser has it.
 * Source: argparse of Python 3.10, for a parser whose flags are all long ones.
 * @param options.endsAtWord whether the first word, and whatever stands behind it, are another program's line
 */
export const readArguments = (
  args: readonly string[],
  flags: Flags,
  { endsAtWord = false }: { readonly endsAtWord?: boolean } = {},
): ReadArguments => {
  const canonical: string[] = [];
  const words: string[] = [];
  const off = new Set<string>();
  const faults: FlagFault[] = [];
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] ?? "";
    if (argument === "--") {
      words.push(...args.slice(i + 1));
      break;
    }
    if (endsAtWord && isValue(argument)) {
      words.push(...args.slice(i));
      break;
    }
    if (argument === "-h") {
      canonical.push("--help");
      continue;
    }
    if (!argument.startsWith("--")) {
      if (isValue(argument)) words.push(argument);
      else
        faults.push({
          what: argument,
          found: "an unknown flag",
          expected: "a flag with two dashes",
          ...hintOfOneDash(argument, flags),
        });
      continue;
    }
    const [, typed = "", given] = /^--([^=]*)(?:=([^]*))?$/.exec(argument) ?? [];
    const next = args[i + 1];
    const back = takenBack(typed, flags);
    if (back !== undefined && given === undefined) {
      off.add(back);
      continue;
    }
    const resolved = resolveName(back ?? typed, flags);
    if ("fault" in resolved) {
      faults.push(resolved.fault);
      // Its value, if it has one, is no fault of its own.
      if (given === undefined && next !== undefined && isValue(next)) i++;
      continue;
    }
    const { name } = resolved;
    const flag = flags[name];
    if (flag === undefined || flag.kind === "switch") {
      if (given === undefined) {
        off.delete(name);
        canonical.push(`--${name}`);
      } else
        faults.push({
          what: `--${back === undefined ? name : typed}`,
          found: JSON.stringify(given),
          expected: "no value: it is a switch",
        });
    } else if (given !== undefined) {
      canonical.push(`--${name}=${given}`);
    } else if (next !== undefined && isValue(next)) {
      canonical.push(`--${name}=${next}`);
      i++;
    } else if (flag.kind === "text" && flag.bare !== undefined) {
      canonical.push(`--${name}=${flag.bare}`);
    } else {
      faults.push({ what: `--${name}`, found: "no value", expected: "one after it" });
    }
  }
  const kept = canonical.filter((word) => !off.has(word.slice(2)));
  return { canonical: words.length === 0 ? kept : [...kept, "--", ...words], off, faults };
};
