import { spawnSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { makeTempFolder } from "../support/temp-folder.js";

test("writeFileAtomically removes what killed writers of that file have left, and nothing of others", async (t) => {
  const folder = await makeTempFolder(t);
  const gone = spawnSync(process.execPath, ["--version"]).pid;
  const kept = [
    `.a.gguf.${String(process.ppid)}.tmp`,
    `.b.gguf.${String(gone)}.tmp`,
    ".a.gguf.x.tmp",
  ];
  for (const name of [...kept, `.a.gguf.${String(gone)}.tmp`])
    await writeFile(join(folder, name), "part");
  await writeFileAtomically(join(folder, "a.gguf"), "whole");
  t.deepEqual((await readdir(folder)).sort(), [...kept, "a.gguf"].sort());
  t.is(await readFile(join(folder, "a.gguf"), "utf8"), "whole");
});
