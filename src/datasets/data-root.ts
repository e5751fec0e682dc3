import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { UserError } from "../core/errors.js";

interface RootChoice {
  /** --data_dir */
  readonly dataDir?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly workingFolder?: string;
}

/** The folder under which data sets are looked for, whether it is there or not, and what has named it. */
export const chooseDataRoot = ({
  dataDir,
  environment = process.env,
  workingFolder = process.cwd(),
}: RootChoice = {}): { readonly root: string; readonly by: string } => {
  const fromEnvironment = environment.HIRA_DATA_DIR;
  const [chosen, by] =
    dataDir !== undefined
      ? [dataDir, "--data_dir"]
      : fromEnvironment
        ? [fromEnvironment, "HIRA_DATA_DIR"]
        : ["data_file", "the default"];
  return { root: resolve(workingFolder, chosen), by };
};

/**
 * The folder under which data sets are looked for: `dataDir` (--data_dir), else $HIRA_DATA_DIR, else ./data_file.
 *
 * @throws {UserError} if there is no such folder
 */
export const resolveDataRoot = async (choice: RootChoice = {}): Promise<string> => {
  const { root, by } = chooseDataRoot(choice);
  const found = await stat(root).catch(() => undefined);
  if (!found?.isDirectory())
    throw new UserError(
      `Cannot find data sets in ${root} (${by}): found ${found ? "a file" : "nothing"}, expected a folder`,
      "Name the folder that holds llm_adapt/ with --data_dir or HIRA_DATA_DIR",
    );
  return root;
};
