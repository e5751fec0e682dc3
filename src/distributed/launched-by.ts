import type { MpiFamily } from "../runtime/mpi/library.js";

/** What a launcher tells the processes that it starts. */
export interface LaunchedBy {
  readonly family: MpiFamily;
  readonly rank: number;
  readonly size: number;
  /** The rank among the processes of this host; 0 where nobody says. */
  readonly localRank: number;
  /** How many processes this host has; where nobody says, all of them. */
  readonly localSize: number;
}

interface Names {
  readonly family: MpiFamily;
  readonly rank: string;
  readonly size: string;
  readonly localRank: string;
  readonly localSize: string;
}

/**
 * Environment variables by launcher. mpirun of Open MPI; mpiexec.hydra of MPICH, Intel MPI and MVAPICH; srun with --mpi=pmi2 or pmix
 * (a batch script alone has SLURM_NTASKS too, but no PMI).
 */
const launchers: readonly Names[] = [
  {
    family: "Open MPI",
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    localRank: "OMPI_COMM_WORLD_LOCAL_RANK",
    localSize: "OMPI_COMM_WORLD_LOCAL_SIZE",
  },
  {
    family: "MPICH",
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    localRank: "MPI_LOCALRANKID",
    localSize: "MPI_LOCALNRANKS",
  },
  {
    family: "Open MPI",
    rank: "PMIX_RANK",
    size: "SLURM_NTASKS",
    localRank: "SLURM_LOCALID",
    localSize: "SLURM_NTASKS_PER_NODE",
  },
];

/** Who has started this process together with others; undefined where it runs by itself. */
export const launchedBy = (
  env: Readonly<Record<string, string | undefined>> = process.env,
): LaunchedBy | undefined => {
  for (const { family, ...names } of launchers) {
    const rank = Number(env[names.rank] ?? NaN);
    const size = Number(env[names.size] ?? NaN);
    if (!Number.isInteger(rank) || !Number.isInteger(size)) continue;
    const localRank = Number(env[names.localRank] ?? env.SLURM_LOCALID ?? 0);
    const localSize = Number(env[names.localSize] ?? env.SLURM_NTASKS_PER_NODE ?? size);
    return { family, rank, size, localRank, localSize };
  }
  return undefined;
};
