import { launchedBy, type LaunchedBy } from "../distributed/launched-by.js";
import { soloGroup, type ProcessGroup } from "../distributed/process-group.js";
import { bindToOwnCores } from "./bind-cores.js";
import { endWithLauncher } from "./end-with-launcher.js";
import type { OutputStream } from "./style-text.js";

/** How long a process waits before it tells an error that process 0 may be telling, too. */
const silenceMs = 2000;

/** This process among those that a launcher has started with it. */
export interface Processes {
  readonly rank: number;
  readonly size: number;
  /** Whether process 0 speaks in this one's place: of what all say alike, one line is enough. */
  readonly isSilent: boolean;
  /** Joins the others, once; a process that is alone has a group of its own. @throws {UserError} without an MPI library */
  join(): Promise<ProcessGroup>;
  /**
   * Before an error is told: process 0 tells at once and ends the others, so that these come to word only with what is theirs
   * alone. Resolves to what stands before the message.
   */
  beforeError(): Promise<string>;
  /** Leaves the group; with an exit code of a failure all others are ended with it. */
  leave(exitCode: number): Promise<void>;
}

const alone: Processes = {
  rank: 0,
  size: 1,
  isSilent: false,
  join: () => Promise.resolve(soloGroup),
  beforeError: () => Promise.resolve(""),
  leave: () => Promise.resolve(),
};

const among = (
  launched: LaunchedBy,
  env: Readonly<Record<string, string | undefined>>,
): Processes => {
  const { family, rank, size } = launched;
  let group: ProcessGroup | undefined;
  const join = async (): Promise<ProcessGroup> => {
    if (group) return group;
    // Before MPI and the runtime start threads of theirs.
    await bindToOwnCores(launched, env);
    endWithLauncher(env, () => {
      process.stderr.write(
        `[process ${String(rank)} of ${String(size)}] error: Cannot go on: the launcher has ended\n`,
      );
      process.exit(1);
    });
    // Loaded where it is needed: a process alone needs no MPI.
    const { joinMpiGroup } = await import("../distributed/mpi-group.js");
    return (group = joinMpiGroup(family));
  };
  return {
    ...{ rank, size },
    isSilent: rank > 0 && env.HIRA_EACH_RANK_LOG === undefined,
    join,
    async beforeError() {
      // Who has not joined cannot end the others.
      await join().catch(() => undefined);
      if (rank > 0) await new Promise((resolve) => setTimeout(resolve, silenceMs));
      return `[process ${String(rank)} of ${String(size)}] `;
    },
    async leave(exitCode) {
      // After a signal process 0 has saved, and the others have nothing to save.
      const endsAll = rank === 0 ? exitCode !== 0 : exitCode === 1 || exitCode === 2;
      if (endsAll) group?.abort(exitCode);
      else await group?.close();
    },
  };
};

/** What the environment says of the processes that were started with this one. */
export const findProcesses = (env: Readonly<Record<string, string | undefined>>): Processes => {
  const launched = launchedBy(env);
  return launched && launched.size > 1 ? among(launched, env) : alone;
};

/** Takes what nobody is to see. */
export const silentStream: OutputStream = { write: () => true };
