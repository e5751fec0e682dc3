import type { ValuesOf } from "../core/flag.js";
import { trainHiraFlags } from "./original-flags.js";
import { methodFlags } from "../peft/registry.js";
import { ownFlags } from "./own-flags.js";

/** Every flag of every command. The snake_case of train_hira.py lives in the tables, and in the files of the methods, and stops here. */
export const flags = { ...trainHiraFlags, ...ownFlags, ...methodFlags };

/** The name of a flag of any command, without the dashes. */
export type FlagName = keyof typeof flags;

/** Every flag's value as it was parsed, by the flag's own name. */
export type FlagValues = ValuesOf<typeof flags>;

/** Entries of the table by their names, for a command's own flags. */
export const pickFlags = <const Name extends FlagName>(
  names: readonly Name[],
): Pick<typeof flags, Name> =>
  Object.fromEntries(names.map((name) => [name, flags[name]])) as Pick<typeof flags, Name>;

type OriginalFlagName = keyof typeof trainHiraFlags;

/** The 37 flags of train_hira.py, in its order. */
export const originalFlagNames = Object.keys(trainHiraFlags) as readonly OriginalFlagName[];

/** What line 1 of output.jsonl holds: the 37 flags by their own names, null for Python's None. */
export type OriginalFlags = Pick<FlagValues, OriginalFlagName>;
