import { join } from "node:path";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import { peakMemoryBytes } from "../runtime/memory.js";

/** Environment variables by which `hira launch --autotuning` tells a line that it is a trial. */
export const trialVariables = {
  /** Updates of the trial. */
  steps: "HIRA_AUTOTUNING_STEPS",
  /** Where the trial's figures go. */
  folder: "HIRA_AUTOTUNING_FOLDER",
} as const;

/** The name of the file with the peak memory of each process, by rank. */
export const trialMemoryName = "memory.json";

/** A run of a few updates that are measured. */
export interface AutotuningTrial {
  readonly steps: number;
  readonly folder: string;
}

/** The trial that this process is, if it is one. */
export const autotuningTrial = (
  env: Readonly<Record<string, string | undefined>>,
): AutotuningTrial | undefined => {
  const steps = Number(env[trialVariables.steps] ?? NaN);
  const folder = env[trialVariables.folder];
  return Number.isSafeInteger(steps) && steps > 0 && folder !== undefined
    ? { steps, folder }
    : undefined;
};

/** Writes what each process has held of memory; collective. */
export const recordTrialMemory = async (
  { folder }: AutotuningTrial,
  group: ProcessGroup,
): Promise<void> => {
  const peaks = await group.gather(peakMemoryBytes());
  if (group.rank === 0)
    await writeFileAtomically(join(folder, trialMemoryName), `${JSON.stringify(peaks)}\n`);
};
