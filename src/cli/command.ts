import type { ProcessGroup } from "../distributed/process-group.js";
import type { ProgressUi } from "../report/progress.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { defaultOf, type FlagFault, type Flags, type ValuesOf } from "../core/flag.js";
import { faultsError, readFlag } from "./flag.js";
import {
  judgeUnread,
  unreadFault,
  unreadFlags,
  unreadWarning,
  type ReadTable,
  type Source,
} from "./reads.js";
import type { Painter } from "./style-text.js";

/** What a command gets from `main` beside its command line. */
export interface CommandContext {
  readonly ui: ProgressUi;
  /** A line beside the output proper: to stderr, so that what is piped stays clean. */
  readonly note: (text: string) => void;
  /** What stdout can show. */
  readonly terminal: { readonly columns: number; readonly paint: Painter };
  /** The processes that a launcher has started together with this one: it joins them. @throws {UserError} without an MPI library */
  readonly joinProcesses: () => Promise<ProcessGroup>;
  /** Requested by the signals that ask to stop, for commands that `finishOnSignal`. */
  readonly interrupt: InterruptSignal;
  /**
   * Says that standard output gets nothing but a log of work whose results lie in files: a fault in writing it is then a warning,
   * not the end of the run.
   */
  readonly outputIsLog: () => void;
}

/** What a command's `run` gets. */
export interface CommandInput<Table extends Flags> {
  readonly values: ValuesOf<Table>;
  /** The flags that somebody wrote, on the command line or in a --config file; the other values are defaults. */
  readonly given: ReadonlySet<string>;
  /** Those of them that are somebody's choice and so have to be read, with where they stand. */
  readonly typed: ReadonlyMap<string, Source>;
  /** Where the model is that a --config file of a run names; undefined where the line names one. */
  readonly modelFolder: string | undefined;
  /** The words that are no flags. */
  readonly words: readonly string[];
  readonly context: CommandContext;
  /** To be filled with what is wrong between flags. */
  readonly faults: FlagFault[];
  /** All that is wrong: with single flags, and what is in `faults`. */
  readonly allFaults: () => readonly FlagFault[];
  /**
   * Ends the checks; where all is well, one warning names the flags that were written without effect.
   *
   * @throws {UserError} naming all faults
   */
  readonly throwFaults: () => void;
}

/** A command of `hira`: its flags, its help, and a `run` that calls the library. */
export interface Command<Table extends Flags = Flags> {
  /** One word or two: `score`, `data split`. */
  readonly name: string;
  /** One line without a full stop, for the list of commands. */
  readonly summary: string;
  /** Further sentences for the command's own help. */
  readonly description?: string;
  readonly flags: Table;
  /** When each flag is read; one that was written where it is not is named. */
  readonly reads: ReadTable<Table>;
  /** The authors' program that this command stands for; its help then marks the flags that are ours. */
  readonly replaces?: string;
  /** What the words are that are no flags; without it there are none. */
  readonly words?: {
    readonly name: string;
    readonly help: string;
    /** Whether the first of them, and whatever stands behind it, are another program's line. */
    readonly isProgram?: boolean;
  };
  /** Command lines with what they do. */
  readonly examples: readonly (readonly [line: string, does: string])[];
  /**
   * The run looks at `context.interrupt`, says with `during` what it is at, saves and returns; without it a signal ends the
   * process at once.
   */
  readonly finishOnSignal?: boolean;
  /** Whether processes that a launcher has started share the work out; without it a command refuses to be several. */
  readonly runsInProcesses?: boolean;
  /** Resolves to an exit code where the command has worked and something that it started has failed. */
  run(input: CommandInput<Table>): Promise<number | undefined | void>;
}

/** Infers the types of a command's values from its flags, and then forgets them, so that commands fit in one table. */
export const defineCommand = <const Table extends Flags>(command: Command<Table>): Command =>
  command;

/**
 * What a command's `run` gets, from the texts of its flags (true for a switch).
 *
 * A flag that is wrong has its default in `values`, so that the checks between flags can go on and all faults are told
 * at once; `throwFaults` then never returns.
 */
export const readCommandInput = (
  command: Pick<Command, "name" | "flags" | "reads" | "words">,
  {
    texts,
    words,
    earlier,
    places = {},
    typed = new Map(),
    modelFolder,
    context,
  }: {
    readonly texts: Readonly<Record<string, string | true>>;
    readonly words: readonly string[];
    readonly earlier: readonly FlagFault[];
    /** Where a flag's value stands if not on the command line, by the flag's name. */
    readonly places?: Readonly<Record<string, string>>;
    /** The flags that are somebody's choice, which have to be read. */
    readonly typed?: ReadonlyMap<string, Source>;
    readonly modelFolder?: string | undefined;
    readonly context: CommandContext;
  },
): CommandInput<Flags> => {
  const faults: FlagFault[] = [...earlier];
  const given = new Set(Object.keys(texts));
  const values: Record<string, boolean | number | string | null> = {};
  for (const [name, flag] of Object.entries(command.flags)) {
    const text = texts[name];
    values[name] = defaultOf(flag);
    if (text === undefined) continue;
    if (flag.kind === "switch" || text === true) {
      values[name] = true;
      continue;
    }
    const reading = readFlag(name, flag, text);
    if ("fault" in reading) faults.push(reading.fault);
    else values[name] = reading.value;
  }
  if (command.words === undefined && words.length > 0)
    faults.push({
      what: words.map((word) => JSON.stringify(word)).join(" "),
      found: words.length === 1 ? "a word" : "words",
      expected: `only flags after "hira ${command.name}"`,
    });
  const between: FlagFault[] = [];
  const placed = (fault: FlagFault): FlagFault => {
    const name = fault.what.replace(/^--/, "");
    const place = places[name];
    return place === undefined ? fault : { ...fault, what: `${name} (${place})` };
  };
  // A flag that is wrong by itself need not be told to be useless, too.
  const unread = () => {
    const told = new Set([...faults, ...between].map(({ what }) => what.replace(/^--/, "")));
    const names = [...typed.keys()].filter((name) => !told.has(name));
    return judgeUnread(unreadFlags(command.reads, values as ValuesOf<Flags>, names, given), typed);
  };
  const allFaults = (): readonly FlagFault[] => {
    const single = faults.map(placed);
    const known = new Set(single.map(({ what }) => what));
    const { refused } = unread();
    return [
      ...single,
      ...between.map(placed).filter(({ what }) => !known.has(what)),
      ...(refused.length > 0 ? [unreadFault(refused, places)] : []),
    ];
  };
  return {
    values: values as ValuesOf<Flags>,
    given,
    modelFolder,
    typed,
    words,
    context,
    faults: between,
    allFaults,
    throwFaults: () => {
      const all = allFaults();
      if (all.length > 0) throw faultsError(all, command.name);
      const { told } = unread();
      if (told.length > 0) context.ui.warn(unreadWarning(told, places));
    },
  };
};
