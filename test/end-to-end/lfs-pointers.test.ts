import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { standInFault } from "../../src/core/stand-in.js";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

const pointer = `version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 538090408
`;

const refuses = async (
  t: ExecutionContext,
  path: string,
  line: readonly string[],
): Promise<void> => {
  const whole = await readFile(path).catch(() => undefined);
  await writeFile(path, pointer);
  const { code, err } = await runHira(...line);
  t.is(code, 2, `${path}: ${err}`);
  t.regex(err, /found a pointer of git-lfs/, path);
  t.regex(err, /git lfs pull/, path);
  if (whole) await writeFile(path, whole);
  else await rm(path);
};

test("a pointer of git-lfs in a model's folder asks for git lfs pull, whatever file it stands for (9.26)", async (t) => {
  const folder = await makeTempFolder(t);
  const model = join(folder, "model");
  await cp("data_file/demo", model, {
    recursive: true,
    filter: (from) => !from.includes("llm_adapt"),
  });
  await writeFile(join(model, "generation_config.json"), "{}");
  await writeFile(join(folder, "in.jsonl"), JSON.stringify({ prompt: "does the" }));
  const line = [
    ...["generate", `--model=${model}`, `--input=${folder}/in.jsonl`, "--max_new_tokens=1"],
    ...[`--out=${folder}/out.jsonl`],
  ];
  for (const name of await readdir(model)) await refuses(t, join(model, name), line);

  const sharded = join(folder, "sharded");
  await cp(model, sharded, { recursive: true, filter: (from) => !from.endsWith(".safetensors") });
  const index = join(sharded, "model.safetensors.index.json");
  const shard = "model-00001-of-00002.safetensors";
  const lineOfShards = line.map((word) => word.replace(model, sharded));
  await refuses(t, index, lineOfShards);
  await writeFile(index, JSON.stringify({ weight_map: { "lm_head.weight": shard } }));
  await refuses(t, join(sharded, shard), lineOfShards);
});

test("a pointer of git-lfs in an adapter's, a run's or a data folder asks for git lfs pull (9.26)", async (t) => {
  const folder = await makeTempFolder(t);
  const base = `--model=${peftFixture("base")}`;
  const rows = await writeTinyRows(folder);
  const files = [`--input=${rows}`, "--overwrite", `--out=${folder}/out.safetensors`];
  const adapter = join(folder, "adapter");
  await cp(peftFixture("hira"), adapter, { recursive: true });
  for (const name of await readdir(adapter))
    await refuses(t, join(adapter, name), ["forward", ...files, base, `--ckpt=${adapter}`]);

  const init = join(folder, "init.safetensors");
  await refuses(t, init, [
    "forward",
    ...files,
    base,
    "--peft_type=hira",
    "--r_ab=2",
    `--adapter_init=${init}`,
  ]);
  await refuses(t, rows, ["forward", ...files, base]);
  const config = join(folder, "config.yaml");
  await refuses(t, config, ["train", `--config=${config}`]);

  const data = join(folder, "data", "llm_adapt", "boolq");
  await mkdir(data, { recursive: true });
  for (const name of ["train.json", "train.jsonl", "train.json.gz"]) {
    await refuses(t, join(data, name), [
      ...["--dataset_analysis", "--dataset=boolq", "--model=data_file/demo"],
      ...[`--data_dir=${join(folder, "data")}`],
    ]);
  }

  const run = await trainTiny(t, join(folder, "runs"), ...tinyRunFlags(rows), "--peft_type=hira");
  for (const name of ["checkpoint-4/adapter_model.safetensors", "checkpoint-4/trainer_state.json"])
    await refuses(t, join(run, name), ["forward", ...files, `--ckpt=${join(run, "checkpoint-4")}`]);
});

test("hira merge copies no pointer of git-lfs (9.26)", async (t) => {
  const folder = await makeTempFolder(t);
  const model = join(folder, "model");
  await cp(peftFixture("base"), model, { recursive: true });
  const ckpt = `--ckpt=${peftFixture("hira")}`;
  await refuses(t, join(model, "tokenizer.model"), [
    ...["merge", ckpt, `--model=${model}`, `--out=${folder}/merged`],
  ]);
});

test("a web page in a file's place is told as one (9.26)", (t) => {
  const page = "<!doctype html>\n<html><head><title>Entry not found</title>";
  t.regex(standInFault(page, "m/config.json")?.message ?? "", /found a web page/);
  t.is(standInFault('{"version": "https://git-lfs.github.com/spec/v1"}', "x"), undefined);
  t.is(standInFault(new Uint8Array(600), "x"), undefined);
});
