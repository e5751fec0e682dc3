import { UserError } from "../core/errors.js";
import { coresOfRank, parseCoreList } from "../distributed/core-list.js";
import type { LaunchedBy } from "../distributed/launched-by.js";

/** How the launcher tells its processes --bind_cores_to_rank: "all", or the --bind_core_list. */
export const bindVariable = "HIRA_BIND_CORES";

/**
 * Keeps this process on its share of its host's cores, if the launcher has asked for that: of the list that was given, or of all
 * that it may use.
 *
 * @throws {UserError} if there are fewer cores than processes, or the system refuses
 */
export const bindToOwnCores = async (
  { localRank, localSize }: LaunchedBy,
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> => {
  const asked = env[bindVariable];
  if (asked === undefined || asked === "") return;
  const { allowedProcessors, bindToProcessors } = await import("../runtime/affinity.js");
  const cores = asked === "all" ? allowedProcessors() : parseCoreList(asked, "--bind_core_list");
  const own = coresOfRank(cores, { localRank, localSize });
  if (own.length === 0)
    throw new UserError(
      `Cannot give every process cores of its own: found ${String(cores.length)} cores for ${String(localSize)} processes, expected one each at least`,
      "Lower --num_gpus, or leave --bind_cores_to_rank out",
    );
  bindToProcessors(own);
};
