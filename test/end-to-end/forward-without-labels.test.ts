import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import {
  readSafetensorsHeader,
  readTensorsAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
import { makeFolder } from "../support/make-folder.js";
import { runHira } from "../support/run-hira.js";

const ids = [
  [1, 5, 6, 7],
  [1, 8, 9, 4],
];
const jsonl = (rows: readonly object[]): string =>
  rows.map((row) => JSON.stringify(row)).join("\n");
const files = {
  "labelled.jsonl": jsonl(ids.map((row) => ({ input_ids: row, labels: [-100, ...row.slice(1)] }))),
  "bare.jsonl": jsonl(ids.map((row) => ({ input_ids: row }))),
  "null.json": JSON.stringify(ids.map((row) => ({ input_ids: row, labels: null }))),
  "mixed.jsonl": jsonl(ids.map((row, i) => ({ input_ids: row, ...(i === 0 && { labels: row }) }))),
  "one.jsonl": '{"input_ids": [5]}',
};

const tensorsOf = async (path: string): Promise<Record<string, readonly number[]>> => {
  const { entries } = await readSafetensorsHeader(path);
  const values = await readTensorsAsFloat32(entries);
  return Object.fromEntries([...values].map(([name, data]) => [name, [...data]]));
};

test("hira forward gives the same logits, and no loss, for rows without labels (9.40)", async (t) => {
  const folder = await makeFolder(t, files);
  for (const method of [[], ["--peft_type=lora", "--r_ab=2"], ["--peft_type=prompt-tuning"]]) {
    const forward = async (name: string): Promise<Record<string, readonly number[]>> => {
      const out = join(folder, `${name}.safetensors`);
      const {
        code,
        out: said,
        err,
      } = await runHira(
        ...["forward", `--model=${peftFixture("base")}`, ...method, "--seed=1", "--overwrite"],
        ...[`--input=${join(folder, name)}`, `--out=${out}`],
      );
      t.is(code, 0, err);
      t.is(/^loss /m.test(said), name === "labelled.jsonl");
      return tensorsOf(out);
    };
    const { logits, ...others } = await forward("labelled.jsonl");
    t.deepEqual(Object.keys(others), ["loss"]);
    for (const name of ["bare.jsonl", "null.json"])
      t.deepEqual(await forward(name), { logits: logits ?? [] });
    t.deepEqual(Object.keys(await forward("one.jsonl")), ["logits"]);
  }
});

test("hira forward refuses gradients without labels, and rows of both kinds (9.40)", async (t) => {
  const folder = await makeFolder(t, files);
  const refused = async (name: string, ...flags: readonly string[]): Promise<string> => {
    const out = join(folder, "out.safetensors");
    const { code, err } = await runHira(
      ...["forward", `--model=${peftFixture("base")}`, ...flags],
      ...[`--input=${join(folder, name)}`, `--out=${out}`],
    );
    t.is(code, 2, err);
    t.false(existsSync(out));
    return err;
  };
  t.regex(
    await refused("bare.jsonl", "--peft_type=lora", "--r_ab=2", "--gradients"),
    /Cannot compute --gradients on .*bare\.jsonl: found no labels in its rows/,
  );
  t.regex(
    await refused("mixed.jsonl"),
    /mixed\.jsonl as one batch: found 1 of 2 rows without labels \(line 2\), expected labels in all rows or in none/,
  );
});

test("hira train still needs labels, and hira merge compares on rows without them (9.40)", async (t) => {
  const folder = await makeFolder(t, files);
  const input = join(folder, "bare.jsonl");
  const base = `--model=${peftFixture("base")}`;
  const trained = await runHira(
    ...["--peft_type=lora", base, `--dataset=${input}`, "--eval_strategy=no"],
    `--output_folder=${join(folder, "runs")}`,
  );
  t.is(trained.code, 2);
  t.regex(trained.err, /bare\.jsonl, line 1: found fields input_ids, expected labels/);
  const merged = await runHira(
    ...["merge", base, `--ckpt=${peftFixture("lora")}`, `--input=${input}`],
    `--out=${join(folder, "merged")}`,
  );
  t.is(merged.code, 0, merged.err);
  t.regex(merged.out, /at 8 of 8 positions/);
});
