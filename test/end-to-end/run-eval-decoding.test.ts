import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";

const sets = ["boolq", "piqa", "siqa", "hellas", "winog", "arce", "arcc", "obqa"];

/** The script beside a `hira` that writes its arguments down and exits as `exits` says for a data set. */
const withHira = async (exits: Readonly<Record<string, number>>) => {
  const root = await mkdtemp(join(tmpdir(), "hira-script-"));
  await mkdir(join(root, "bin"));
  await mkdir(join(root, "scripts"));
  await cp("scripts/run_eval_decoding.sh", join(root, "scripts/run_eval_decoding.sh"));
  await writeFile(join(root, "package.json"), '{"type":"module"}');
  await writeFile(
    join(root, "bin/hira.js"),
    `import { appendFileSync } from "node:fs";
     const args = process.argv.slice(2);
     appendFileSync(${JSON.stringify(join(root, "calls"))}, JSON.stringify(args) + "\\n");
     process.exitCode = ${JSON.stringify(exits)}[args[0].split("=")[1]] ?? 0;`,
  );
  return {
    run: (...args: string[]) =>
      spawnSync("bash", [join(root, "scripts/run_eval_decoding.sh"), ...args], {
        encoding: "utf8",
      }),
    calls: async () =>
      (await readFile(join(root, "calls"), "utf8"))
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as string[]),
  };
};

test("run_eval_decoding.sh answers the eight sets in the original's order, with its flags and what is added", async (t) => {
  const { run, calls } = await withHira({});
  const { status, stderr } = run("results/a run", "--limit=200");
  t.is(stderr, "");
  t.is(status, 0);
  t.deepEqual(
    await calls(),
    sets.map((set) => [
      `--dataset=${set}`,
      "--batch=16",
      "--ckpt=results/a run",
      "--beam_size=4",
      "--limit=200",
    ]),
  );
});

test("run_eval_decoding.sh answers the sets that --dataset names, with beams where they have an effect", async (t) => {
  const { run, calls } = await withHira({ samsum: 2 });
  const { status, stderr } = run("ckpt", "--limit=5", "--dataset=convai2,gsm8k,samsum");
  t.is(status, 1);
  t.is(stderr, "error: 1 of 3 sets failed:\n  samsum (exit code 2)\n");
  t.deepEqual(await calls(), [
    ["--dataset=convai2", "--batch=16", "--ckpt=ckpt", "--limit=5"],
    ["--dataset=gsm8k", "--batch=16", "--ckpt=ckpt", "--beam_size=4", "--limit=5"],
    ["--dataset=samsum", "--batch=16", "--ckpt=ckpt", "--limit=5"],
  ]);
});

test("run_eval_decoding.sh answers the other sets when one fails, and then fails loudly", async (t) => {
  const { run, calls } = await withHira({ siqa: 2, obqa: 1 });
  const { status, stderr } = run("ckpt");
  t.is(status, 1);
  t.is((await calls()).length, 8);
  t.is(stderr, "error: 2 of 8 sets failed:\n  siqa (exit code 2)\n  obqa (exit code 1)\n");
});

test("run_eval_decoding.sh stops where hira was stopped by a signal", async (t) => {
  const { run, calls } = await withHira({ piqa: 130 });
  t.is(run("ckpt").status, 130);
  t.is((await calls()).length, 2);
});

test("run_eval_decoding.sh without a checkpoint says how it is used", async (t) => {
  const { run } = await withHira({});
  for (const args of [[], ["--limit=200"]]) {
    const { status, stderr } = run(...args);
    t.is(status, 2);
    t.regex(stderr, /^usage: .*run_eval_decoding\.sh CKPT/);
  }
});
