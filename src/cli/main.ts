import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { CommanderError } from "commander";
import { config as loadDotenv } from "dotenv";
import { didYouMean, UserError } from "../core/errors.js";
import { readArguments } from "./arguments.js";
import { readCommandInput, type Command } from "./command.js";
import { configFlag, readConfigFile } from "./config-file.js";
import { buildProgram } from "./help.js";
import { exitCodeOf, installDebuggerGuard, installInterruptHandlers } from "./interrupt.js";
import { printError } from "./print-error.js";
import { findProcesses, silentStream, type Processes } from "./processes.js";
import { guardOutput } from "./standard-output.js";
import type { Source } from "./reads.js";
import { InterruptedError, InterruptSignal } from "../train/interrupt.js";
import { painterFor, type OutputStream } from "./style-text.js";
import { terminalProgress } from "./terminal-progress.js";
import { columnsOf } from "./wrap-text.js";

/** What `main` writes to and reads from; tests put their own in place. */
export interface MainSurroundings {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly commands: readonly Command[];
}

/** The command that the first words name, and the words after it. */
const findCommand = (
  argv: readonly string[],
  table: readonly Command[],
): { readonly command: Command; readonly rest: readonly string[] } | undefined => {
  for (const command of table) {
    const words = command.name.split(" ");
    if (words.every((word, i) => argv[i] === word))
      return { command, rest: argv.slice(words.length) };
  }
  return undefined;
};

const unknownCommand = (argv: readonly string[], table: readonly Command[]): UserError => {
  const names = table.map(({ name }) => name);
  const two = argv.slice(0, 2).join(" ");
  const first = argv[0] ?? "";
  // "data spilt" is nearer to "data split" than "data" is to anything.
  const family = names.some((name) => name.startsWith(`${first} `));
  const found = family ? two : first;
  return new UserError(
    `Cannot run ${JSON.stringify(found)}: found no such command, expected ${names.join(", ")}`,
    didYouMean(found, names) ?? 'See "hira --help"',
  );
};

/**
 * `help`, `help COMMAND` and `COMMAND help` as `--help` has it; any other line as it is.
 *
 * Behind a command that takes files, `help` is one where a file of that name is there.
 */
const helpLine = (argv: readonly string[], table: readonly Command[]): readonly string[] => {
  const [first, ...others] = argv;
  if (first === "help")
    return [...others.filter((word) => word !== "--help" && word !== "help"), "--help"];
  if (argv.at(-1) !== "help") return argv;
  const before = argv.slice(0, -1);
  const found = findCommand(before, table);
  const isFamily = before.length === 1 && table.some(({ name }) => name.startsWith(`${first} `));
  const isCommand =
    found?.rest.length === 0 && (found.command.words === undefined || !existsSync("help"));
  return isFamily || isCommand ? [...before, "--help"] : argv;
};

/** Runs one command line to its end and returns the exit code. Library faults are thrown. */
const runCommandLine = async (
  argv: readonly string[],
  surroundings: MainSurroundings & {
    readonly releaseGuard: () => void;
    readonly outputIsLog: () => void;
    readonly processes: Processes;
  },
): Promise<number> => {
  const { environment, processes } = surroundings;
  const { stdout, stderr } = processes.isSilent
    ? { stdout: silentStream, stderr: silentStream }
    : surroundings;
  const table = surroundings.commands.map((command) => ({
    ...command,
    flags: { ...command.flags, ...configFlag },
  }));
  const packageJson = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(packageJson) as { readonly version: string };
  const [first] = argv;
  const isAboutHira = (word?: string): boolean =>
    word !== undefined && ["-h", "--help", "-V", "--version"].includes(word);
  const startsWithFlag = first?.startsWith("-") === true && !isAboutHira(first);
  const line = startsWithFlag ? ["train", ...argv] : helpLine(argv, table);
  const found = findCommand(line, table);
  const read =
    found &&
    readArguments(found.rest, found.command.flags, {
      endsAtWord: found.command.words?.isProgram ?? false,
    });
  let exitCode = 0;

  const run = async (
    command: Command,
    texts: Readonly<Record<string, string | true>>,
    words: readonly string[],
  ): Promise<void> => {
    if (processes.size > 1 && command.runsInProcesses !== true)
      throw new UserError(
        `Cannot run hira ${command.name} in ${String(processes.size)} processes: found several that a launcher has started, expected one`,
        "Start it without hira launch, mpirun or srun; hira train, also with --ckpt, shares its work out",
      );
    const ui = terminalProgress({ stdout, stderr, environment });
    const interrupt = new InterruptSignal();
    const release = command.finishOnSignal
      ? installInterruptHandlers(interrupt, (line) => {
          ui.warn(line);
        })
      : () => undefined;
    // Both would act: what the command does with the signal counts.
    if (command.finishOnSignal) surroundings.releaseGuard();
    const context = {
      ui,
      note: (text: string) => void stderr.write(`${text}\n`),
      terminal: {
        columns: columnsOf(stdout, environment),
        paint: painterFor(stdout, environment),
      },
      interrupt,
      joinProcesses: () => processes.join(),
      outputIsLog: surroundings.outputIsLog,
    };
    try {
      const { config, ...given } = texts;
      const { config: _, ...flags } = command.flags;
      const file = typeof config === "string" ? await readConfigFile(config, flags) : undefined;
      const isOpen = (name: string): boolean => !(name in given) && !read?.off.has(name);
      const fromFile = <T>(table: Readonly<Record<string, T>> = {}): Record<string, T> =>
        Object.fromEntries(Object.entries(table).filter(([name]) => isOpen(name)));
      const typed = new Map<string, Source>([
        ...Object.keys(given).map((name) => [name, "line"] as const),
        ...(file?.chosen ?? []).filter(isOpen).map((name) => [name, "file"] as const),
      ]);
      const failed = await command.run(
        readCommandInput(
          { ...command, flags },
          {
            texts: { ...fromFile(file?.texts), ...given },
            words,
            earlier: [...(read?.faults ?? []), ...(file?.faults ?? [])],
            places: fromFile(file?.places),
            typed,
            modelFolder: isOpen("model_name") ? file?.modelFolder : undefined,
            context,
          },
        ),
      );
      if (failed) exitCode = failed;
    } catch (error) {
      if (!(error instanceof InterruptedError)) throw error;
    } finally {
      ui.close();
      release();
    }
    if (interrupt.requested !== undefined) exitCode = exitCodeOf(interrupt.requested);
  };

  const out = line.length === 0 ? stderr : stdout;
  const program = buildProgram(table, {
    version,
    write: (text) => void out.write(text),
    columns: columnsOf(out, environment),
    run,
  });
  if (line.length === 0) {
    program.outputHelp();
    return 2;
  }
  if (found && read) {
    const words = found.command.name.split(" ");
    await program.parseAsync([...words, ...read.canonical], { from: "user" });
    return exitCode;
  }
  const parents = table.flatMap(({ name }) => (name.includes(" ") ? [name.split(" ")[0]] : []));
  const [head, next] = line;
  const asksForHelp = line.length === 1 || next === "-h" || next === "--help";
  if (!isAboutHira(head) && !(parents.includes(head) && asksForHelp))
    throw unknownCommand(line, table);
  await program.parseAsync([...line], { from: "user" });
  return exitCode;
};

/**
 * Runs `hira` with the words after the program's name and returns its exit code.
 *
 * `.env` of the working directory is read first; what the environment has already, stays.
 * 0: success. 1: a fault of ours. 2: something to mend in the command line or its files. 128 + n: stopped by signal n,
 * so 130 for SIGINT and 143 for SIGTERM.
 */
export const main = async (
  argv: readonly string[],
  replaced: Partial<MainSurroundings> = {},
): Promise<number> => {
  // First of all, before anything is waited for: until then the signal would open a debugger.
  const releaseGuard = installDebuggerGuard();
  loadDotenv({ quiet: true });
  const [stdout, log] = [guardOutput(process.stdout), { isAll: false }];
  const streams = { stdout, stderr: guardOutput(process.stderr), environment: process.env };
  const { stderr, environment } = { ...streams, ...replaced };
  stdout.onFault = (fault) => {
    // What a run makes lies in its folder, and is worth more than its log.
    if (log.isAll)
      stderr.write(
        `warning: Cannot write to standard output: ${fault}; going on without the log\n`,
      );
  };
  const outputIsLog = (): void => {
    log.isAll = true;
  };
  const processes = findProcesses(environment);
  let exitCode: number;
  try {
    const commands = replaced.commands ?? (await import("./commands.js")).commands;
    const all = { ...streams, ...replaced, commands, releaseGuard, outputIsLog, processes };
    exitCode = await runCommandLine(argv, all);
  } catch (error) {
    // Commander has printed the help or the version by now.
    if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? 0 : 2;
    else {
      const prefix = await processes.beforeError();
      exitCode = printError(error, stderr, painterFor(stderr, environment), prefix);
    }
  } finally {
    releaseGuard();
  }
  await processes.leave(exitCode);
  if (replaced.stdout) return exitCode;
  await stdout.flush();
  // A command that has failed has said so already.
  if (stdout.fault === undefined || log.isAll || exitCode !== 0) return exitCode;
  const fault = new UserError(
    `Cannot write to standard output: ${stdout.fault}`,
    "Make room, or send the output elsewhere",
  );
  return printError(fault, stderr, painterFor(stderr, environment));
};
