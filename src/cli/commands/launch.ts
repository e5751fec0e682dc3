import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { resolve } from "node:path";
import { UserError } from "../../core/errors.js";
import { readTextFile } from "../../core/text-file.js";
import {
  chooseSlots,
  limitSlots,
  parseHostfile,
  type ChosenSlots,
} from "../../distributed/hostfile.js";
import {
  exportedNames,
  launchCommand,
  launcherVariables,
  launchers,
  type Launcher,
} from "../../distributed/launch-command.js";
import { parseCoreList } from "../../distributed/core-list.js";
import { joinAsNode, runOnNode, serveNodes } from "../../distributed/ssh-less.js";
import { defineCommand, type Command } from "../command.js";
import type { Flag } from "../../core/flag.js";
import { InterruptedError } from "../../train/interrupt.js";
import { autotune } from "../autotune.js";
import { bindVariable } from "../bind-cores.js";
import { launcherVariable, ownName } from "../end-with-launcher.js";
import { exitCodeOf } from "../interrupt.js";
import { always } from "../reads.js";

const text = (placeholder: string, help: string, fallback: string | null = null) =>
  ({ kind: "text", group: "Processes", placeholder, default: fallback, help }) as const;
const integer = (help: string, min: number, fallback: number | null = null) =>
  ({ kind: "integer", group: "Processes", default: fallback, min, help }) as const;
const toggle = (help: string) => ({ kind: "switch", group: "Processes", help }) as const;

/** DeepSpeed's launcher flags, by its names. Source: parse_args of DeepSpeed 0.14's launcher/runner.py. */
const launchFlags = {
  hostfile: text(
    "file",
    "Lines of `host slots=N`; a file that is missing means this machine",
    "/job/hostfile",
  ),
  include: text("hosts", "Only these hosts and slots: worker-1@worker-2:0,2"),
  exclude: text("hosts", "All but these hosts and slots"),
  num_nodes: integer("Hosts to use, from the first on; if not given, all", 1),
  num_gpus: integer("Processes a host; if not given, its slots, and on this machine alone 1", 1),
  num_accelerators: integer("The same as --num_gpus", 1),
  launcher: {
    ...text("name", "What starts the processes; if not given, what is installed"),
    choices: [...launchers, "pdsh"],
  },
  launcher_args: text("arguments", "Further arguments for it, in one word", ""),
  bind_cores_to_rank: toggle("Give every process cores of its own"),
  bind_core_list: text("cores", "The cores for that, such as 0-3,8; if not given, all of a host"),
  ssh_port: integer("The port of ssh on the other hosts", 1),
  enable_each_rank_log: text("folder", "Write what each rank prints into files there"),
  save_pid: toggle("Write the launcher's process id to ds_launcher.pid"),
  no_ssh: toggle("The line is started on every host by hand, each with its --node_rank"),
  node_rank: integer("This host's place in the hostfile, from 0; with --no_ssh", 0),
  master_addr: text(
    "address",
    "The host of --node_rank=0; if not given, the first of the hostfile",
  ),
  master_port: integer("Where it waits for the others, with --no_ssh", 1, 29500),
  autotuning: {
    ...text("mode", "Try batch sizes (and stages) first: tune shows the best, run goes on with it"),
    choices: ["tune", "run"],
  },
  dry_run: toggle("Print the command line that would start the processes, and stop"),
  as_agent: integer("Stands in for ssh, on behalf of the process that waits at this port", 1),
} as const satisfies Readonly<Record<string, Flag>>;

/** `./train_hira.py --peft_type=hira` and `train --peft_type=hira` as a line of hira. */
const lineOf = ([first = "", ...rest]: readonly string[]): readonly string[] => {
  if (/(?:^|\/)train_hira\.py$/.test(first)) return ["train", ...rest];
  if (first !== "") return [first, ...rest];
  throw new UserError(
    "Cannot launch: found no program, expected one behind the launcher's flags",
    "For example: hira launch --num_gpus=2 train_hira.py --peft_type=hira --model=MODEL",
  );
};

/** What work comes to, or the exit code of the signal that has ended it. */
const untilInterrupted = async <T>(work: () => Promise<T>): Promise<T | number> => {
  try {
    return await work();
  } catch (error) {
    if (error instanceof InterruptedError) return exitCodeOf(error.signal);
    throw error;
  }
};

const tuningWithoutSsh = (): UserError =>
  new UserError(
    "Cannot use --autotuning with --no_ssh: found trials that would be started by hand on every host, expected hosts that ssh reaches",
    "Tune on one host: hira launch --autotuning=tune --num_gpus=N train_hira.py ...",
  );

/** Which launcher is installed: mpirun says whose it is. @throws {UserError} if there is none */
const findLauncher = (): Launcher => {
  const { stdout, error } = spawnSync("mpirun", ["--version"], { encoding: "utf8" });
  if (!error && /Open MPI|PRTE/.test(stdout)) return "openmpi";
  if (!spawnSync("mpiexec.hydra", ["--version"]).error) return "mpich";
  throw new UserError(
    "Cannot launch: found no MPI on this machine, expected Open MPI's mpirun or MPICH's mpiexec.hydra",
    "Install one (Debian: apt-get install openmpi-bin), or start the processes with srun: --launcher=slurm",
  );
};

/** Starts a command line, and resolves to its exit code; 128 + n where signal n has ended it or this process. */
const run = ([command = "", ...args]: readonly string[], env: NodeJS.ProcessEnv): Promise<number> =>
  new Promise((done, fail) => {
    const child = spawn(command, args, { stdio: "inherit", env });
    let ended: NodeJS.Signals | undefined;
    const note = (signal: NodeJS.Signals): void => {
      ended = signal;
      // A signal of the terminal reaches the launcher too, one of kill this process alone.
      if (signal === "SIGTERM") child.kill(signal);
    };
    process.on("SIGTERM", note).on("SIGINT", note);
    child.once("error", (error) => {
      fail(
        new UserError(`Cannot start ${command}: ${error.message}`, "Is it installed, and in PATH?"),
      );
    });
    child.once("close", (code, signal) => {
      process.off("SIGTERM", note).off("SIGINT", note);
      const by = ended ?? signal;
      done(by && code !== 0 ? 128 + constants.signals[by] : (code ?? 1));
    });
  });

const quoted = (argument: string): string =>
  /^[\w.,=/:@%+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;

/**
 * `hira launch`: starts a line of hira in several processes.
 *
 * @param program the command line that starts hira, without arguments of its own
 */
export const launchCommandOf = (program: () => readonly string[]): Command =>
  defineCommand({
    name: "launch",
    summary: "Start a line of hira in several processes, on one machine or many",
    description:
      "Takes DeepSpeed's launcher flags and hostfile, and starts the processes with Open MPI, MPICH or Slurm. What stands behind the flags is what each process runs: a line of hira, or train_hira.py and its flags.",
    words: {
      name: "<train_hira.py> <its flags>",
      help: "What every process runs",
      isProgram: true,
    },
    flags: launchFlags,
    reads: Object.fromEntries(Object.keys(launchFlags).map((name) => [name, always])) as never,
    examples: [
      ["hira launch --num_gpus=2 train_hira.py --peft_type=hira", "two processes here"],
      ["hira launch --hostfile=hostfile --num_nodes=2 train_hira.py ...", "on two hosts"],
    ],
    async run({ values, words, context, throwFaults }) {
      throwFaults();
      const { ui, note } = context;
      if (values.as_agent !== null) {
        const [host = "", ...command] = words;
        return await runOnNode(host, command.join(" "), values.as_agent);
      }
      let line = lineOf(words);
      const processes = values.num_gpus ?? values.num_accelerators ?? undefined;
      const slots = await slotsOf({ ...values, processes }, (text) => {
        ui.warn(text);
      });
      const hosts = [...slots.keys()];
      const rank = values.no_ssh ? (values.node_rank ?? 0) : 0;
      const address = values.master_addr ?? hosts[0] ?? "localhost";
      if (rank > 0)
        return (await joinAsNode(rank, { address, port: values.master_port })) === 0
          ? undefined
          : 1;
      const withoutSsh = values.no_ssh && hosts.length > 1;
      const rankLogs =
        values.enable_each_rank_log === null ? undefined : resolve(values.enable_each_rank_log);
      const binding = bindingOf(values);
      const startOf = (words: readonly string[], environment: NodeJS.ProcessEnv) =>
        launchCommand({
          launcher: launcherOf(values),
          slots,
          program: [...program(), ...words],
          launcherArgs: values.launcher_args.split(/\s+/).filter((word) => word !== ""),
          sshPort: values.ssh_port ?? undefined,
          exported: exportedNames({ ...environment, ...binding }),
          rankLogs,
          isRoot: process.getuid?.() === 0,
          agent: withoutSsh
            ? [...program(), "launch", `--as_agent=${String(values.master_port)}`]
            : undefined,
        });
      if (values.autotuning !== null && !values.dry_run) {
        if (withoutSsh) throw tuningWithoutSsh();
        const counts = [...slots.values()].map(({ length }) => length);
        const processes = counts.reduce((sum, count) => sum + count, 0);
        const isAlone = processes === 1 && hosts[0] === "localhost";
        const tuned = await untilInterrupted(() =>
          autotune({
            line,
            processes,
            processesHere: Math.max(...counts),
            // A process alone needs no launcher.
            start: (words, environment) =>
              isAlone ? [...program(), ...words] : startOf(words, environment),
            show: (text) => {
              ui.line(text);
            },
            warn: (text) => {
              ui.warn(text);
            },
          }),
        );
        if (typeof tuned === "number") return tuned;
        ({ line } = tuned);
        if (values.autotuning === "tune") return undefined;
        if (isAlone) return await run([...program(), ...line], process.env);
      }
      const argv = startOf(line, process.env);
      if (values.dry_run) {
        const variables = Object.entries(binding).map(([name, value]) => `${name}=${value}`);
        ui.line([...variables, ...argv].map(quoted).join(" "));
        return undefined;
      }
      if (rankLogs !== undefined) await mkdir(rankLogs, { recursive: true });
      if (values.save_pid) await writeFile("ds_launcher.pid", `${String(process.pid)}\n`);
      const server = withoutSsh
        ? serveNodes(hosts, {
            port: values.master_port,
            joined: (host) => {
              note(`${host} has joined`);
            },
          })
        : undefined;
      try {
        if (server) {
          note(`Waiting for ${hosts.slice(1).join(", ")} at port ${String(values.master_port)}`);
          await server.ready;
        }
        const code = await run(argv, {
          ...process.env,
          ...binding,
          [launcherVariable]: ownName(),
          ...launcherVariables({
            launcher: launcherOf(values),
            sshPort: values.ssh_port ?? undefined,
          }),
          ...(rankLogs !== undefined && { HIRA_EACH_RANK_LOG: "1" }),
        });
        // Codes of hira's own come with its words.
        if (code === 128 + constants.signals.SIGKILL || (code > 2 && code < 128) || code > 160)
          note(
            `The launcher has ended with code ${String(code)}: a process was killed, or a host lost, and the others were ended with it. Checkpoints are as they were: --resume_from_checkpoint goes on from the last one`,
          );
        return code;
      } finally {
        server?.close();
      }
    },
  });

/** What starts the processes: DeepSpeed's own name for ssh means whatever is installed. */
const launcherOf = ({ launcher }: { readonly launcher: string | null }): Launcher =>
  launcher === null || launcher === "pdsh" ? findLauncher() : (launcher as Launcher);

/** What tells the processes which cores are theirs. @throws {UserError} on a list of another form, or without the switch */
const bindingOf = ({
  bind_cores_to_rank: binds,
  bind_core_list: list,
}: {
  readonly bind_cores_to_rank: boolean;
  readonly bind_core_list: string | null;
}): Readonly<Record<string, string>> => {
  if (list === null) return binds ? { [bindVariable]: "all" } : {};
  parseCoreList(list, "--bind_core_list");
  if (binds) return { [bindVariable]: list };
  throw new UserError(
    `Cannot use --bind_core_list=${list}: found no --bind_cores_to_rank, expected it beside the list`,
  );
};

/** Where processes are started. @throws {UserError} naming what does not fit */
const slotsOf = async (
  {
    hostfile,
    include,
    exclude,
    num_nodes: nodes,
    processes,
  }: {
    readonly hostfile: string;
    readonly include: string | null;
    readonly exclude: string | null;
    readonly num_nodes: number | null;
    readonly processes: number | undefined;
  },
  warn: (text: string) => void,
): Promise<ChosenSlots> => {
  const isFiltered = include !== null || exclude !== null;
  if (isFiltered && (nodes !== null || processes !== undefined))
    throw new UserError(
      `Cannot use ${include === null ? "--exclude" : "--include"} beside --num_nodes and --num_gpus: expected one way to choose`,
    );
  if (!existsSync(hostfile)) {
    if (hostfile !== launchFlags.hostfile.default)
      warn(`Found no hostfile ${hostfile}: all processes are started on this machine`);
    const here = new Map([["localhost", processes ?? 1]]);
    return limitSlots(
      chooseSlots(here, { include: include ?? undefined, exclude: exclude ?? undefined }),
      { nodes: nodes ?? undefined, processes },
    );
  }
  const { text } = await readTextFile(hostfile);
  const chosen = chooseSlots(parseHostfile(text, hostfile), {
    include: include ?? undefined,
    exclude: exclude ?? undefined,
  });
  return limitSlots(chosen, { nodes: nodes ?? undefined, processes });
};
