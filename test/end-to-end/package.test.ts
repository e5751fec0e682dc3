import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";
import { makeTempFolder } from "../support/temp-folder.js";

const run = promisify(execFile);
const repository = fileURLToPath(new URL("../..", import.meta.url));
/** Not what npm passes to the scripts that it runs, such as this test's own `npm test`: nobody has that in an empty folder. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD$)/i.test(name)),
);
const noNetwork = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED|E407/;

/** A copy of the repository to build and pack in, so that other tests see nothing of it; its node_modules are hard links. */
const copyRepository = async (folder: string): Promise<void> => {
  const names = await readdir(repository);
  const left = new Set([".git", ".cache", "dist", "node_modules", "results_hira", "test"]);
  for (const name of names.filter((name) => !left.has(name) && !name.endsWith(".tgz")))
    await cp(join(repository, name), join(folder, name), { recursive: true });
  const [from, to] = [
    await realpath(join(repository, "node_modules")),
    join(folder, "node_modules"),
  ];
  await run("cp", ["-al", from, to]).catch(async () => {
    await rm(to, { recursive: true, force: true });
    await cp(from, to, { recursive: true, verbatimSymlinks: true });
  });
};

test("the packed program installs in an empty folder without flags, brings docs and demo, and generates there (9.39)", async (t) => {
  t.timeout(600_000);
  // Beside node_modules, for hard links do not reach into other file systems.
  const copy = join(repository, ".cache", `package-test-${String(process.pid)}`);
  await mkdir(copy, { recursive: true });
  t.teardown(() => rm(copy, { recursive: true, force: true }));
  await copyRepository(copy);
  const options = { cwd: copy, env: environment, maxBuffer: 1 << 26 };
  await run("npm", ["run", "build"], options);
  const tarballs = await makeTempFolder(t);
  await run("npm", ["pack", "--silent", `--pack-destination=${tarballs}`], options);
  const [tarball = ""] = await readdir(tarballs);

  const folder = await makeTempFolder(t);
  const at = { cwd: folder, env: environment };
  try {
    await run("npm", ["install", "--prefer-offline", join(tarballs, tarball)], at);
  } catch (error) {
    const said = String((error as { readonly stderr?: string }).stderr);
    // What the bundle is there for: the script that asks NuGet must not run.
    t.notRegex(said, /nuget/i);
    if (!noNetwork.test(said)) throw error;
    t.log(`skipped: the npm registry is out of reach (${said.slice(0, 200)})`);
    return;
  }
  const installed = join(folder, "node_modules", "hira");
  for (const name of [
    ...["docs/commands/train.md", "docs/coverage.md", "data_file/demo/model.safetensors"],
    ...[
      "scripts/run_eval_decoding.sh",
      "scripts/install-accelerator.sh",
      "scripts/convert_adapter_bin.py",
      "ds_configs",
    ],
  ])
    t.true(existsSync(join(installed, name)), name);
  for (const name of ["scripts/bench", "scripts/demo", "scripts/reference", "src", "test"])
    t.false(existsSync(join(installed, name)), name);

  const bundled = await readFile(
    join(installed, "node_modules", "onnxruntime-node", "package.json"),
    "utf8",
  );
  t.false("scripts" in (JSON.parse(bundled) as object));

  const demo = join(installed, "data_file", "demo");
  await writeFile(join(folder, "prompts.jsonl"), '{"prompt":"does the"}\n');
  const flags = [`--model=${demo}`, "--input=prompts.jsonl", "--out=out.jsonl"];
  await run("npx", ["--offline", "hira", "generate", ...flags, "--max_new_tokens=2"], at);
  const row = JSON.parse(await readFile(join(folder, "out.jsonl"), "utf8")) as object;
  t.like(row, { row: 0, new_tokens: [987, 703] });
});

test("@xenova/transformers loads and reads a tokenizer though sharp and onnxruntime-web are left out (9.39)", async (t) => {
  for (const name of ["sharp", "onnxruntime-web"]) {
    const path = join(repository, "node_modules", name, "package.json");
    const { description } = JSON.parse(await readFile(path, "utf8")) as { description: string };
    t.regex(description, /^Stands where @huggingface\/transformers looks for/, name);
  }
  t.false(existsSync(join(repository, "node_modules", "@img")));
  const { AutoTokenizer, env } = (await import("@xenova/transformers")) as unknown as {
    readonly AutoTokenizer: {
      from_pretrained(folder: string): Promise<{ encode(text: string): number[] }>;
    };
    readonly env: { localModelPath: string };
  };
  env.localModelPath = join(repository, "data_file");
  const tokenizer = await AutoTokenizer.from_pretrained("demo");
  t.deepEqual(tokenizer.encode("does the"), [748, 263, 266]);
});
