import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";

/** The real path of a new folder that is removed when the test ends. */
export const makeTempFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "hira-test-")));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
};
