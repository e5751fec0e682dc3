import { execFile } from "node:child_process";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { makeTempFolder } from "../support/temp-folder.js";

const repository = fileURLToPath(new URL("../..", import.meta.url));

interface Ended {
  readonly code: number | undefined;
  readonly out: string;
  readonly err: string;
}

const start = (program: string, ...argv: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [program, ...argv], (error, out, err) => {
      resolve({ code: error ? Number(error.code) : 0, out, err });
    });
  });

/** A checkout with nothing but bin/ and package.json. */
const makeCheckout = async (folder: string): Promise<string> => {
  for (const name of ["bin", "package.json"])
    await cp(join(repository, name), join(folder, name), { recursive: true });
  return join(folder, "bin", "hira.js");
};

test("hira without a build says npm run build, without packages npm ci; a fault inside the program keeps its own words (9.13)", async (t) => {
  const folder = await makeTempFolder(t);
  const program = await makeCheckout(folder);
  t.deepEqual(await start(program, "score", "."), {
    code: 2,
    out: "",
    err:
      "error: Cannot start hira: found none of its packages, expected them in node_modules\n" +
      '  Run "npm ci && npm run build" in its folder first\n',
  });
  await symlink(join(repository, "node_modules"), join(folder, "node_modules"));
  t.deepEqual(await start(program, "--version"), {
    code: 2,
    out: "",
    err:
      "error: Cannot start hira: found no dist/cli/main.js, expected the compiled program\n" +
      '  Run "npm run build" in its folder first\n',
  });
  await mkdir(join(folder, "dist", "cli"), { recursive: true });
  await writeFile(join(folder, "dist", "cli", "main.js"), 'import "./gone.js";\n');
  const broken = await start(program, "--version");
  t.is(broken.code, 1);
  t.regex(broken.err, /ERR_MODULE_NOT_FOUND[^]*gone\.js|gone\.js[^]*ERR_MODULE_NOT_FOUND/);
});
