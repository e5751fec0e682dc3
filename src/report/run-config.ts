import { join } from "node:path";
import { stringify } from "yaml";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { RunFacts } from "./run-json.js";

/** The effective flags of a run, for --config. */
export const runConfigName = "config.yaml";

/**
 * Writes the run's flags as YAML, so that `hira train --config RUN/config.yaml` does the same run again.
 *
 * They are the flags that run.json holds, which is what programs read; this file is for people. null is a flag that was not
 * given.
 * @throws {UserError} if it cannot be written
 */
export const writeRunConfig = (runFolder: string, flags: RunFacts["flags"]): Promise<void> =>
  writeFileAtomically(
    join(runFolder, runConfigName),
    `# The flags of this run with their effective values. To run it again: hira train --config=FILE\n${stringify(flags, { lineWidth: 0 })}`,
  );
