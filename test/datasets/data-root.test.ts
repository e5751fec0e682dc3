import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { resolveDataRoot } from "../../src/datasets/data-root.js";
import { makeFolder } from "../support/make-folder.js";

test("resolveDataRoot takes --data_dir, then HIRA_DATA_DIR, then data_file", async (t) => {
  const files = { "data_file/x": "", "named/x": "", "environment/x": "" };
  const workingFolder = await makeFolder(t, files);
  const environment = { HIRA_DATA_DIR: "environment" };
  t.is(
    await resolveDataRoot({ dataDir: "named", environment, workingFolder }),
    join(workingFolder, "named"),
  );
  t.is(await resolveDataRoot({ environment, workingFolder }), join(workingFolder, "environment"));
  t.is(await resolveDataRoot({ environment: {}, workingFolder }), join(workingFolder, "data_file"));
  for (const dataDir of ["absent", "named/x"])
    await t.throwsAsync(resolveDataRoot({ dataDir, environment, workingFolder }), {
      instanceOf: UserError,
      message: /\(--data_dir\): found (nothing|a file), expected a folder/,
    });
});
