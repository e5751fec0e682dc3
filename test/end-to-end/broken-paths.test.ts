import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { UserError, userErrorOfSystem } from "../../src/core/errors.js";
import { listFolder, makeFolder } from "../../src/core/folder.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const row = JSON.stringify({ input_ids: [1, 5, 6, 7], labels: [1, 5, 6, 7] });

/** What a path may be that a person has got wrong, by its name in the folder that `prepare` makes. */
const brokenPaths = {
  "nothing there": "none",
  "a folder": "folder",
  "a file": "file.jsonl",
  "something below a file": "file.jsonl/below",
  "a link to itself": "circle",
  "a name too long": "n".repeat(300),
} as const;

type Broken = keyof typeof brokenPaths;

const prepare = async (t: ExecutionContext): Promise<string> => {
  const folder = await makeTempFolder(t);
  await mkdir(join(folder, "folder"));
  await writeFile(join(folder, "file.jsonl"), `${row}\n`);
  await symlink(join(folder, "circle"), join(folder, "circle"));
  return folder;
};

interface PathCase {
  readonly what: string;
  /** The line with `path` in its place. */
  readonly line: (path: string, folder: string) => readonly string[];
  /** Paths that are no fault here. */
  readonly good?: readonly Broken[];
}

const base = `--model=${peftFixture("base")}`;
const files = (folder: string) => [
  `--input=${join(folder, "file.jsonl")}`,
  `--out=${join(folder, "new", "out")}`,
];
const train = (folder: string) => [
  ...[base, "--peft_type=hira", "--r_ab=2", "--max_steps=1", "--eval_strategy=no"],
  ...[`--dataset=${join(folder, "file.jsonl")}`, `--output_folder=${join(folder, "runs")}`],
];
/** A path that will be made, or a file that will be read. */
const isMade = ["nothing there"] as const;
const isFile = ["a file"] as const;

const cases: readonly PathCase[] = [
  { what: "train --model", line: (path, folder) => [...train(folder), `--model=${path}`] },
  { what: "train --ckpt", line: (path) => ["--dataset=boolq", `--ckpt=${path}`] },
  {
    what: "train --dataset",
    // Only a name with this ending is a file.
    line: (path, folder) => [
      ...train(folder),
      `--dataset=${path.replace(/(?:\.jsonl)?$/, ".jsonl")}`,
    ],
    good: isFile,
  },
  {
    what: "train --validation",
    line: (path, folder) => [
      ...train(folder),
      ...["--eval_strategy=steps", "--eval_steps=1", `--validation=${path}`],
    ],
    good: isFile,
  },
  {
    what: "train --adapter_init",
    line: (path, folder) => [...train(folder), `--adapter_init=${path}`],
  },
  {
    what: "train --ds_config",
    // Its keys are unknown ones, which DeepSpeed passes over.
    line: (path, folder) => [...train(folder), `--ds_config=${path}`],
    good: isFile,
  },
  {
    what: "train --output_folder",
    line: (path, folder) => [...train(folder), `--output_folder=${path}`],
    good: ["nothing there", "a folder"],
  },
  {
    what: "train --resume_from_checkpoint",
    line: (path, folder) => [...train(folder), `--resume_from_checkpoint=${path}`],
  },
  {
    what: "train --data_dir",
    line: (path) => [
      "--model=data_file/demo",
      "--peft_type=hira",
      "--r_ab=2",
      `--data_dir=${path}`,
    ],
  },
  { what: "train --config", line: (path) => ["train", `--config=${path}`] },
  { what: "analysis --model", line: (path) => ["--dataset_analysis", `--model=${path}`] },
  {
    what: "forward --model",
    line: (path, folder) => ["forward", ...files(folder), `--model=${path}`],
  },
  {
    what: "forward --ckpt",
    line: (path, folder) => ["forward", ...files(folder), base, `--ckpt=${path}`],
  },
  {
    what: "forward --input",
    line: (path, folder) => ["forward", ...files(folder), base, `--input=${path}`],
    good: isFile,
  },
  {
    what: "forward --out",
    line: (path, folder) => ["forward", ...files(folder), base, `--out=${path}`],
    good: isMade,
  },
  {
    what: "generate --model",
    line: (path, folder) => ["generate", ...files(folder), `--model=${path}`],
  },
  {
    what: "generate --ckpt",
    line: (path, folder) => ["generate", ...files(folder), `--ckpt=${path}`],
  },
  {
    what: "generate --input",
    line: (path, folder) => ["generate", ...files(folder), base, `--input=${path}`],
    good: isFile,
  },
  {
    what: "generate --out",
    line: (path, folder) => ["generate", ...files(folder), base, `--out=${path}`],
    good: isMade,
  },
  {
    what: "merge --ckpt",
    line: (path, folder) => ["merge", `--ckpt=${path}`, `--out=${folder}/m`],
  },
  {
    what: "merge --model",
    line: (path, folder) => [
      ...["merge", `--ckpt=${peftFixture("hira")}`, `--model=${path}`, `--out=${folder}/m`],
    ],
  },
  {
    what: "merge --out",
    line: (path) => ["merge", `--ckpt=${peftFixture("hira")}`, base, `--out=${path}`],
    good: ["nothing there", "a folder"],
  },
  {
    what: "merge --unmerge",
    line: (path, folder) => [
      ...["merge", `--ckpt=${peftFixture("hira")}`, base, `--unmerge=${path}`, `--out=${folder}/m`],
    ],
  },
  {
    what: "merge --input",
    line: (path, folder) => [
      ...["merge", `--ckpt=${peftFixture("hira")}`, base, `--input=${path}`, `--out=${folder}/m`],
    ],
    good: isFile,
  },
  { what: "score", line: (path) => ["score", path] },
  { what: "compare", line: (path) => ["compare", path] },
  { what: "sweep", line: (path) => ["sweep", path] },
  { what: "data split --input", line: (path) => ["data", "split", `--input=${path}`] },
  { what: "data split --data_dir", line: (path) => ["data", "split", `--data_dir=${path}`] },
];

for (const { what, line, good = [] } of cases)
  test(`a wrong path is told in words: ${what} (9.12)`, async (t) => {
    for (const [name, path] of Object.entries(brokenPaths)) {
      if (good.some((known) => known === name)) continue;
      const folder = await prepare(t);
      const { code, out, err } = await runHira(...line(join(folder, path), folder));
      t.is(code, 2, `${name}: ${out}${err}`);
      t.regex(err, /^error: Cannot /m, name);
      t.notRegex(err, /\bE[A-Z]{4,}\b|\n\s+at /, `${name}: ${err}`);
      t.true(err.includes(basename(path).slice(0, 200)), `${name}: ${err}`);
      t.deepEqual(
        (await readdir(folder)).filter((left) => left !== "runs").sort(),
        ["circle", "file.jsonl", "folder"],
        `${name} has left nothing behind`,
      );
    }
  });

test("files that are folders inside a model's, an adapter's or a run's folder are told in words (9.12)", async (t) => {
  const folder = await prepare(t);
  const model = join(folder, "model");
  await mkdir(model);
  for (const name of [
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "tokenizer.json",
  ]) {
    await mkdir(join(model, name));
    const { code, err } = await runHira("forward", ...files(folder), `--model=${model}`);
    t.is(code, 2, err);
    t.notRegex(err, /\bE[A-Z]{4,}\b|\n\s+at /, `${name}: ${err}`);
    t.true(err.includes(model), err);
  }
  for (const name of ["adapter_config.json", "run.json", "output.jsonl", "complete.json"]) {
    const ckpt = join(folder, `with-${name}`);
    await mkdir(join(ckpt, name), { recursive: true });
    for (const line of [
      ["forward", ...files(folder), base, `--ckpt=${ckpt}`],
      ["compare", ckpt],
      ["score", ckpt],
    ]) {
      const { code, err } = await runHira(...line);
      t.is(code, 2, err);
      t.notRegex(err, /\bE[A-Z]{4,}\b|\n\s+at /, `${name}: ${err}`);
    }
  }
});

test("a folder is made with its parents, and where none can be made that is said at once (9.12)", async (t) => {
  const folder = await makeTempFolder(t);
  await makeFolder(join(folder, "a", "b", "c"));
  await makeFolder(join(folder, "a", "b", "c"));
  t.deepEqual(await readdir(join(folder, "a", "b")), ["c"]);
  await writeFile(join(folder, "file"), "");
  for (const path of [join(folder, "file"), join(folder, "file", "x"), "/proc/none/x"])
    await t.throwsAsync(makeFolder(path), undefined, path);
});

test("a call on the file system that nobody foresaw is an error of its path (9.12)", async (t) => {
  const folder = await makeTempFolder(t);
  const fault = await readFile(join(folder, "none")).then(
    () => undefined,
    (error: unknown) => error,
  );
  t.regex(
    userErrorOfSystem(fault)?.message ?? "",
    /^Cannot open .*none: found no such file or folder$/,
  );
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), {
    code: "ENOSPC",
    syscall: "write",
  });
  t.is(userErrorOfSystem(full)?.message, "Cannot write a file: found no room on the disk");
  t.is(userErrorOfSystem(new Error("of ours")), undefined);
  await t.throwsAsync(listFolder(join(folder, "none")), {
    instanceOf: UserError,
    message: /^Cannot read the folder .*none: found no such folder, expected one$/,
  });
});
