import type { FlagFault, Flags, ValuesOf } from "../core/flag.js";
import { originalFlagNames } from "./options.js";

/** What must hold of the other flags for a flag to be read. */
export interface Requirement<Values> {
  /** The flags that decide it, by their names. */
  readonly decidedBy: readonly string[];
  /** @param written the flags that somebody wrote; the other values are defaults */
  isMet(values: Values, written: ReadonlySet<string>): boolean;
  /** Where it is not met, what keeps the flag from being read: "with --ckpt", "without --do_sample=yes". */
  otherwise(values: Values): string;
  /** What the flag is for: "--peft_type=sparse-lora". */
  readonly goesWith?: string;
}

/**
 * Which flags of a command are read, and when: where all requirements are met; none for a flag that is always read. A command
 * that forgets one of its flags does not compile.
 */
export type ReadTable<Table extends Flags> = {
  readonly [Name in keyof Table]: readonly Requirement<ValuesOf<Table>>[];
};

/** Nothing else decides whether the flag is read. */
export const always = [] as const;

/** The flag is read where `name` has such a value, of which `example` is one: `do_sample=yes`. */
export const onlyWith = <const Name extends string, Value>(
  name: Name,
  isMet: (value: Value) => boolean,
  example: string = name,
): Requirement<Readonly<Record<Name, Value>>> => ({
  decidedBy: [name],
  isMet: (values) => isMet(values[name]),
  otherwise: () => `without --${example}`,
});

/** The flag is read but where `name` has such a value. */
export const notWith = <const Name extends string, Value>(
  name: Name,
  stands: (value: Value) => boolean,
): Requirement<Readonly<Record<Name, Value>>> => ({
  decidedBy: [name],
  isMet: (values) => !stands(values[name]),
  otherwise: ({ [name]: value }) =>
    value === true ? `with --${name}` : `with --${name}=${String(value)}`,
});

/** `requirement`, which counts only where `when` holds. */
export const where = <Values, Deciding>(
  when: (values: Deciding) => boolean,
  requirement: Requirement<Values>,
): Requirement<Values & Deciding> => ({
  ...requirement,
  isMet: (values, written) => !when(values) || requirement.isMet(values, written),
  otherwise: (values) => requirement.otherwise(values),
});

/** `requirement`, which counts only where somebody wrote the flag `name`: a default may yield to a file of the model. */
export const whereWritten = <Values>(
  name: string,
  requirement: Requirement<Values>,
): Requirement<Values> => ({
  ...requirement,
  isMet: (values, written) => !written.has(name) || requirement.isMet(values, written),
  otherwise: (values) => requirement.otherwise(values),
});

/** A flag that is not read, and the requirement that is not met. */
export interface UnreadFlag {
  readonly name: string;
  /** "with --ckpt" */
  readonly because: string;
  readonly decidedBy: readonly string[];
  readonly goesWith?: string;
}

/** Those of `names` that are not read with these values, of which somebody wrote those of `written`; in their order. */
export const unreadFlags = (
  table: ReadTable<Flags>,
  values: ValuesOf<Flags>,
  names: Iterable<string>,
  written: ReadonlySet<string> = new Set(names),
): readonly UnreadFlag[] =>
  [...names].flatMap((name) => {
    const unmet = table[name]?.find((requirement) => !requirement.isMet(values, written));
    if (!unmet) return [];
    const { decidedBy, goesWith } = unmet;
    const because = unmet.otherwise(values);
    return [{ name, because, decidedBy, ...(goesWith !== undefined && { goesWith }) }];
  });

/** Items under what they have in common, in the order of their first. */
const groupBy = <Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
): ReadonlyMap<string, readonly Item[]> => {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return groups;
};

/** `--lora_alpha, --mora_type (with --peft_type=hira), --load_order (without --ckpt)`; a flag out of a file with its place. */
const describe = (
  unread: readonly UnreadFlag[],
  places: Readonly<Record<string, string>>,
): string =>
  [...groupBy(unread, ({ because }) => because)]
    .map(([because, group]) => {
      const names = group.map(({ name }) => {
        const place = places[name];
        return `--${name}${place === undefined ? "" : ` of ${place}`}`;
      });
      return `${names.join(", ")} (${because})`;
    })
    .join(", ");

/** Flags without effect, as one warning. */
export const unreadWarning = (
  unread: readonly UnreadFlag[],
  places: Readonly<Record<string, string>>,
): string => `Without effect here: ${describe(unread, places)}`;

/** The same as one fault. */
export const unreadFault = (
  unread: readonly UnreadFlag[],
  places: Readonly<Record<string, string>>,
): FlagFault => {
  const groups = groupBy(unread, ({ goesWith }) => goesWith ?? "");
  const hints = [...groups].flatMap(([goesWith, group]) => {
    if (goesWith === "") return [];
    const names = group.map(({ name }) => `--${name}`).join(", ");
    return [`${names} ${group.length === 1 ? "goes" : "go"} with ${goesWith}`];
  });
  const one = unread.length === 1;
  return {
    what: describe(unread, places),
    found: one ? "a flag without effect here" : "flags without effect here",
    expected: one ? "a line without it" : "a line without them",
    ...(hints.length > 0 && { hint: hints.join("\n") }),
  };
};

const isOriginal = (name: string): boolean => originalFlagNames.some((known) => known === name);

/** Where a flag's value was written: on the command line, or in a --config file. */
export type Source = "line" | "file";

/**
 * Flags without effect, parted into what is an error and what a warning.
 *
 * A flag of train_hira.py is a warning, since scripts carry such flags from line to line. One of ours is an error, unless it
 * stands in a file and the command line decides that it is not read: a file may serve several lines.
 */
export const judgeUnread = (
  unread: readonly UnreadFlag[],
  typed: ReadonlyMap<string, Source>,
): { readonly refused: readonly UnreadFlag[]; readonly told: readonly UnreadFlag[] } => {
  const isRefused = ({ name, decidedBy }: UnreadFlag): boolean =>
    !isOriginal(name) &&
    (typed.get(name) === "line" || !decidedBy.some((other) => typed.get(other) === "line"));
  return {
    refused: unread.filter(isRefused),
    told: unread.filter((flag) => !isRefused(flag)),
  };
};
