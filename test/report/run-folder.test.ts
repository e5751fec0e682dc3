import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  createRunFolder,
  findRunFolders,
  modelNameOf,
  runFolderName,
} from "../../src/report/run-folder.js";
import type { RunFolderOptions } from "../../src/report/run-folder.js";

const options: RunFolderOptions = {
  modelName: "meta-llama/Meta-Llama-3-8B",
  dataset: "common_170k",
  peftType: "hira",
  lr: 0.001,
  loadBit: 16,
  rank: 36,
  initAb: "kaiming,zero",
  trainAb: "yy",
  seed: 36,
  expName: "",
};
const noon = new Date(2026, 0, 9, 12, 0, 0);

test("runFolderName is the original's, with two dashes where exp_name is empty", (t) => {
  t.is(
    runFolderName(options, noon),
    "Meta-Llama-3-8B-common_170k-hira-lr=1.00e-03-r_ab=36-init=kz-train=yy-seed=36--2026-01-09-12-00-00",
  );
});

test("runFolderName leaves out rank, init and train for other methods, and the seed where none is given", (t) => {
  const name = runFolderName(
    { ...options, peftType: "fft", loadBit: 32, seed: undefined, lr: 1e-5, expName: "mine" },
    new Date(2025, 10, 30, 1, 2, 3),
  );
  t.is(name, "Meta-Llama-3-8B-common_170k-fft-lr=1.00e-05-32bit-mine-2025-11-30-01-02-03");
});

test("runFolderName takes the last part of a model folder and of a data set file", (t) => {
  const name = runFolderName(
    {
      ...options,
      modelName: "models/tiny/",
      dataset: "../rows/train.jsonl.gz",
      initAb: "kaiming, zero",
    },
    noon,
  );
  t.regex(name, /^tiny-train-hira-lr=.*-init=kz-/);
});

test("createRunFolder gives two runs of one second two folders", async (t) => {
  const parent = await mkdtemp(join(tmpdir(), "hira-run-folder-"));
  t.teardown(() => rm(parent, { recursive: true }));
  const output = join(parent, "deep", "results");
  const made = await Promise.all([1, 2, 3].map(() => createRunFolder(output, options, noon)));
  const seconds = made.map((folder) => basename(folder).slice(-2));
  t.deepEqual(seconds.sort(), ["00", "01", "02"]);
  t.is((await readdir(output)).length, 3);
});

test("createRunFolder refuses a place that cannot be a folder", async (t) => {
  const parent = await mkdtemp(join(tmpdir(), "hira-run-folder-"));
  t.teardown(() => rm(parent, { recursive: true }));
  await writeFile(join(parent, "file"), "");
  await t.throwsAsync(createRunFolder(join(parent, "file"), options, noon), {
    instanceOf: UserError,
    message: /Cannot write to .*file/,
  });
  await t.throwsAsync(createRunFolder(parent, { ...options, expName: "x".repeat(300) }, noon), {
    instanceOf: UserError,
    message: /Cannot make the run folder .*found a name that is too long/,
  });
});

test("findRunFolders gives the runs of these options and no others, the newest first", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "hira-runs-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const later = new Date(noon.getTime() + 3600_000);
  const made = [
    await createRunFolder(folder, options, noon),
    await createRunFolder(folder, options, later),
  ];
  await createRunFolder(folder, { ...options, seed: 3 }, later);
  await createRunFolder(folder, { ...options, expName: "other" }, later);
  t.deepEqual(await findRunFolders(folder, options), made.reverse());
  t.deepEqual(await findRunFolders(join(folder, "none"), options), []);
});

test("modelNameOf is the folder's real name, never hidden, and a cached snapshot's is the model's (9.30)", (t) => {
  const here = basename(process.cwd());
  const names = {
    ".": here,
    "./": here,
    "..": basename(dirname(process.cwd())),
    "models/SmolLM2/.": "SmolLM2",
    "models/SmolLM2//": "SmolLM2",
    "models/x/..": "models",
    ".hidden": "hidden",
    "meta-llama/Meta-Llama-3-8B": "Meta-Llama-3-8B",
    "/": "model",
    "/c/hub/models--HuggingFaceTB--SmolLM2-135M/snapshots/93efa2f0/": "SmolLM2-135M",
    "/c/hub/models--gpt2/snapshots/93efa2f0": "gpt2",
    "org/demo@v1.0": "demo@v1.0",
    "org/demo@refs/pr/1": "demo@refs-pr-1",
    "org/demo@0123456789abcdef0123456789abcdef01234567": "demo@01234567",
  };
  for (const [path, name] of Object.entries(names)) t.is(modelNameOf(path), name, path);
  t.regex(runFolderName({ ...options, modelName: "." }, noon), new RegExp(`^${here}-`));
});
