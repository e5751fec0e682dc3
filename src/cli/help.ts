import { Command as Program, Option, type Help } from "commander";
import { flagGroups, type Flag, type Flags } from "../core/flag.js";
import type { Command } from "./command.js";
import { wrapCommand, wrapText } from "./wrap-text.js";

/** `--r_ab <n>`, with what the value is called. */
const usageOf = (name: string, flag: Flag): string => {
  switch (flag.kind) {
    case "switch":
      return `--${name}`;
    case "boolean":
      return `--${name} <yes|no>`;
    case "integer":
      return `--${name} <n>`;
    case "number":
      return `--${name} <x>`;
    case "text":
      return flag.bare === undefined
        ? `--${name} <${flag.placeholder}>`
        : `--${name} [${flag.placeholder}]`;
  }
};

/** A default as one word: a text with blanks stands in quotes, a small number is 1e-5. */
const showDefault = (value: string | number | boolean): string => {
  if (typeof value === "number" && value > 0 && value < 1e-3) return value.toExponential();
  return typeof value === "string" && value.includes(" ") ? JSON.stringify(value) : String(value);
};

/** The help text with what works, what comes later and the default. */
const explain = (flag: Flag, marksOurs: boolean): string => {
  const notes: string[] = [];
  if ((flag.kind === "text" || flag.kind === "integer") && flag.choices) {
    const { choices, now } = flag as { choices: readonly unknown[]; now?: readonly unknown[] };
    const later = now === undefined ? [] : choices.filter((choice) => !now.includes(choice));
    notes.push((now ?? choices).join(", "));
    if (later.length > 0) notes.push(`later: ${later.join(", ")}`);
  }
  if (flag.kind !== "switch" && flag.default !== null && flag.default !== "")
    notes.push(`default: ${showDefault(flag.default)}`);
  return `${marksOurs && flag.ours === true ? "+ " : ""}${flag.help}${notes.length === 0 ? "" : ` (${notes.join("; ")})`}`;
};

/** Flags under their headings, in the order of the headings, whatever the order of the table. */
const byGroup = (table: Flags): readonly (readonly [name: string, flag: Flag])[] =>
  flagGroups.flatMap((group) => Object.entries(table).filter(([, flag]) => flag.group === group));

/** `data split`: the words that name a command after `hira`. */
const fullName = (program: Program): string => {
  const { parent } = program;
  return parent?.parent ? `${fullName(parent)} ${program.name()}` : program.name();
};

/**
 * `  term   description`, the description wrapped beside its term, or below one that is longer than a third of the line.
 *
 * Commander leaves descriptions unwrapped where long terms leave them little room.
 */
const formatItem = (
  term: string,
  termWidth: number,
  description: string,
  columns: number,
): string => {
  const width = Math.min(termWidth, Math.max(16, Math.floor(columns / 3)));
  const indent = " ".repeat(width + 4);
  const lines = wrapText(description, columns - indent.length);
  const beside = term.length <= width ? lines.slice(0, 1) : [];
  return [
    `  ${term.padEnd(beside.length > 0 ? width + 2 : 0)}${beside.join("")}`.trimEnd(),
    ...lines.slice(beside.length).map((line) => indent + line),
  ].join("\n");
};

const exitCodes = [
  "0 success, 1 a fault of ours or a failed run of a sweep,",
  "2 something to mend in the command or its files,",
  "130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP,",
  "138 by SIGUSR1, 140 by SIGUSR2.",
].join("\n");

const settings = {
  sortOptions: false,
  // Families such as `data` stand in the list by their members.
  visibleCommands: (program: Program) =>
    program.commands.flatMap((child) => (child.commands.length > 0 ? child.commands : [child])),
  subcommandTerm: fullName,
} satisfies Partial<Help>;

/** A commander program that parses canonical command lines and prints help; it never exits and never writes itself. */
export const buildProgram = (
  commands: readonly Command[],
  {
    version,
    write,
    columns,
    run,
  }: {
    readonly version: string;
    readonly write: (text: string) => void;
    readonly columns: number;
    readonly run: (
      command: Command,
      texts: Readonly<Record<string, string | true>>,
      words: readonly string[],
    ) => Promise<void>;
  },
): Program => {
  const configure = (program: Program): Program =>
    program
      .configureHelp({
        ...settings,
        helpWidth: columns,
        minWidthToWrap: 1,
        formatItem: (term, termWidth, description) =>
          formatItem(term, termWidth, description, columns),
      })
      .configureOutput({ writeOut: write, writeErr: write })
      .exitOverride();
  const program = configure(new Program("hira"))
    .description("Parameter-efficient fine-tuning that anyone can check")
    .usage("<command> [flags]\n       hira [flags of train]")
    .version(version, "-V, --version", "Print the version")
    .helpOption("-h, --help", "Print this help");
  program.helpCommand(false);
  const parents = new Map<string, Program>();
  for (const command of commands) {
    const words = command.name.split(" ");
    const parentName = words.length > 1 ? words[0] : undefined;
    let parent = program;
    if (parentName !== undefined) {
      parent =
        parents.get(parentName) ??
        configure(program.command(parentName))
          .usage("<command> [flags]")
          .helpOption("-h, --help", "Print this help")
          .helpCommand(false);
      parents.set(parentName, parent);
    }
    addCommand(parent, command, { configure, columns, run });
  }
  program.addHelpText(
    "after",
    [
      "",
      ...wrapText(
        'A line that starts with a flag is a line of train: hira --peft_type=hira ...\nSee "hira help <command>" or "hira <command> --help" for a command\'s flags.',
        columns,
      ),
      "",
      ...wrapText(`Exit codes: ${exitCodes}`, columns, " ".repeat("Exit codes: ".length)),
    ].join("\n"),
  );
  return program;
};

const addCommand = (
  parent: Program,
  command: Command,
  {
    configure,
    columns,
    run,
  }: {
    readonly configure: (program: Program) => Program;
    readonly columns: number;
    readonly run: (
      command: Command,
      texts: Readonly<Record<string, string | true>>,
      words: readonly string[],
    ) => Promise<void>;
  },
): void => {
  const own = command.name.split(" ").at(-1) ?? "";
  const child = configure(parent.command(own))
    .allowExcessArguments()
    .summary(command.summary)
    .description([command.summary, command.description].filter(Boolean).join("\n\n"))
    .helpOption("-h, --help", "Print this help")
    .usage(command.words ? `[flags] ${command.words.name}` : "[flags]");
  const { words } = command;
  if (words) {
    child.argument("[words...]", words.help);
    child.configureHelp({ ...child.configureHelp(), argumentTerm: () => words.name });
  }
  for (const [name, flag] of byGroup(command.flags)) {
    const option = new Option(usageOf(name, flag), explain(flag, command.replaces !== undefined));
    child.addOption(option.helpGroup(`${flag.group}:`));
  }
  child.addHelpText(
    "after",
    [
      ...(command.replaces === undefined
        ? []
        : ["", `+ a flag of ours, which ${command.replaces} does not have`]),
      ...(command.examples.length > 0 ? ["", "Examples:"] : []),
      ...command.examples.flatMap(([line, does]) => [
        ...wrapCommand(line, columns, "  "),
        ...wrapText(does, columns - 6).map((text) => `      ${text}`),
      ]),
    ].join("\n"),
  );
  child.action(async () => {
    await run(command, child.opts<Record<string, string | true>>(), child.args);
  });
};
