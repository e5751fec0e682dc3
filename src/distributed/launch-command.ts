import { UserError } from "../core/errors.js";
import type { ChosenSlots } from "./hostfile.js";

/** The programs that start processes, as --launcher of DeepSpeed names them. */
export const launchers = ["openmpi", "mpich", "slurm"] as const;

/** A program that starts processes: mpirun of Open MPI, mpiexec.hydra of MPICH, or srun. */
export type Launcher = (typeof launchers)[number];

/** What is to be started where. */
export interface LaunchPlan {
  readonly launcher: Launcher;
  readonly slots: ChosenSlots;
  /** The command line of one process. */
  readonly program: readonly string[];
  /** --launcher_args, split into words: they come after ours, so that they count. */
  readonly launcherArgs: readonly string[];
  /** Another port than ssh's own. */
  readonly sshPort?: number | undefined;
  /** Names of environment variables that processes on other hosts get too. */
  readonly exported: readonly string[];
  /** --enable_each_rank_log: a folder for what each rank prints. */
  readonly rankLogs: string | undefined;
  readonly isRoot: boolean;
  /** What is run in place of ssh: see ssh-less launching. */
  readonly agent?: readonly string[] | undefined;
}

/** Environment variables that travel to other hosts: those of hira and of the programs below it. */
const exportedForm =
  /^(?:HIRA|HF|NCCL|UCX|MPICH|I_MPI|OMP|GOMP|CUDA|MKL)_|^(?:PATH|LD_LIBRARY_PATH|NODE_OPTIONS|HF_HOME)$/;

/** The names in an environment that processes on other hosts need. Source: EXPORT_ENVS of DeepSpeed's launcher/runner.py. */
export const exportedNames = (env: NodeJS.ProcessEnv): readonly string[] =>
  Object.keys(env)
    .filter((name) => exportedForm.test(name) && env[name] !== undefined)
    .sort();

const isLocal = (slots: ChosenSlots): boolean =>
  [...slots.keys()].every((host) => host === "localhost");

/** Hosts that all have as many processes, which is what srun needs. */
const perHost = (slots: ChosenSlots): number => {
  const counts = new Set([...slots.values()].map(({ length }) => length));
  const [count = 0] = counts;
  if (counts.size > 1)
    throw new UserError(
      `Cannot use --launcher=slurm: found ${[...slots].map(([host, { length }]) => `${String(length)} processes on ${host}`).join(", ")}, expected as many on every host`,
      "Set --num_gpus, the processes a host",
    );
  return count;
};

/** A host that is cut off is given up after some ten seconds, in place of many minutes. */
const watchful = Object.entries({ time: 5, intvl: 2, probes: 3 }).flatMap(([name, value]) => [
  ...["--mca", `oob_tcp_keepalive_${name}`, String(value)],
]);

const openMpi = (plan: LaunchPlan, total: number): readonly string[] => {
  const { slots, exported, rankLogs, isRoot, agent, sshPort } = plan;
  const hosts = [...slots].map(([host, { length }]) => `${host}:${String(length)}`).join(",");
  return [
    "mpirun",
    ...(isRoot ? ["--allow-run-as-root"] : []),
    // Its own pages of advice would bury what the failed rank has said.
    "--quiet",
    ...["-n", String(total), "--host", hosts],
    // Which cores are whose the processes see to themselves: see bindToOwnCores.
    ...["--bind-to", "none"],
    // Ranks that wait leave their core to those that compute.
    ...["--mca", "mpi_yield_when_idle", "1"],
    ...(agent ? ["--mca", "plm_rsh_agent", agent.join(" ")] : []),
    ...(sshPort === undefined ? [] : ["--mca", "plm_rsh_args", `-p ${String(sshPort)}`]),
    ...(isLocal(slots) ? [] : [...watchful, ...exported.flatMap((name) => ["-x", name])]),
    ...(rankLogs === undefined ? [] : ["--output-filename", rankLogs]),
  ];
};

const mpich = (plan: LaunchPlan, total: number): readonly string[] => {
  const { slots, exported, rankLogs } = plan;
  const hosts = [...slots].map(([host, { length }]) => `${host}:${String(length)}`).join(",");
  return [
    "mpiexec.hydra",
    ...["-n", String(total)],
    ...(isLocal(slots) ? [] : ["-hosts", hosts, "-genvlist", exported.join(",")]),
    ...(rankLogs === undefined
      ? []
      : [
          "-outfile-pattern",
          `${rankLogs}/rank.%r.log`,
          "-errfile-pattern",
          `${rankLogs}/rank.%r.err`,
        ]),
  ];
};

const slurm = (plan: LaunchPlan, total: number): readonly string[] => {
  const { slots, rankLogs } = plan;
  return [
    "srun",
    ...["-n", String(total)],
    ...(isLocal(slots)
      ? []
      : [
          `--nodelist=${[...slots.keys()].join(",")}`,
          `--ntasks-per-node=${String(perHost(slots))}`,
        ]),
    "--export=ALL",
    "--kill-on-bad-exit=1",
    "--cpu-bind=none",
    ...(rankLogs === undefined ? [] : [`--output=${rankLogs}/rank.%t.log`]),
  ];
};

/** What a launcher reads from its own environment. */
export const launcherVariables = ({
  launcher,
  sshPort,
}: Pick<LaunchPlan, "launcher" | "sshPort">): Readonly<Record<string, string>> =>
  launcher === "mpich" && sshPort !== undefined
    ? { HYDRA_LAUNCHER_EXTRA_ARGS: `-p ${String(sshPort)}` }
    : {};

/**
 * The command line that starts all processes.
 *
 * Source: OpenMPIRunner, MPICHRunner and SlurmRunner of DeepSpeed's launcher/multinode_runner.py; the options are those of Open MPI 4
 * and 5, of hydra, and of Slurm 20 on.
 * @throws {UserError} if the launcher needs as many processes on every host, and there are not
 */
export const launchCommand = (plan: LaunchPlan): readonly string[] => {
  const total = [...plan.slots.values()].reduce((sum, { length }) => sum + length, 0);
  const start = { openmpi: openMpi, mpich, slurm }[plan.launcher](plan, total);
  return [...start, ...plan.launcherArgs, ...plan.program];
};
