import { join } from "node:path";
import { stringify } from "yaml";
import { writeFileAtomically } from "../core/atomic-file.js";
import type { RunFacts } from "./run-json.js";

/** The effective flags of a run, for --config. */
export const runConfigName = "config.yaml";

/** The key under which config.yaml says where the paths among its flags lead. */
export const foundAtKey = "found_at";

/**
 * Writes the run's flags as YAML, so that `hira train --config RUN/config.yaml` does the same run again, from any folder.
 *
 * They are the flags that run.json holds, which is what programs read; this file is for people. null is a flag that was not
 * given.
 * @param foundAt absolute paths by the flags' names: the flags keep what was given, on which the run's name depends
 * @throws {UserError} if it cannot be written
 */
export const writeRunConfig = (
  runFolder: string,
  flags: RunFacts["flags"],
  foundAt: Readonly<Record<string, string>> = {},
): Promise<void> => {
  const yaml = (value: object): string => stringify(value, { lineWidth: 0 });
  return writeFileAtomically(
    join(runFolder, runConfigName),
    [
      `# The flags of this run with their effective values. To run it again, from any folder: hira train --config=FILE\n${yaml(flags)}`,
      Object.keys(foundAt).length === 0
        ? ""
        : `# Where the paths above have led: counts as long as it is there, so that no other file of the name is taken\n${yaml({ [foundAtKey]: foundAt })}`,
    ].join(""),
  );
};
