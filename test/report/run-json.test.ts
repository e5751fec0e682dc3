import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { hashFile } from "../../src/core/file-hash.js";
import type { RunFacts } from "../../src/report/run-json.js";
import {
  describeHost,
  hashFiles,
  readCodeVersion,
  readRunFlags,
  writeRunJson,
} from "../../src/report/run-json.js";

const makeFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-run-json-"));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
};

const facts: RunFacts = {
  startedAt: new Date(Date.UTC(2026, 0, 9, 12)),
  argv: ["--peft_type=hira", "--lr", "1e-3"],
  flags: { peft_type: "hira", lr: 1e-3, seed: null },
  seeds: { adapter: 36, data_order: 36 },
  model: { folder: "model", sha256: { "config.json": "00" } },
  tokenizerHash: undefined,
  data: { "data/train.json": { bytes: 3, sha256: "01" } },
  code: { version: "1.2.3", commit: null, dirty: null },
  host: describeHost("1.30.0"),
};

test("writeRunJson records the run, and readRunFlags reads its flags back", async (t) => {
  const folder = await makeFolder(t);
  await writeRunJson(folder, facts);
  const json = JSON.parse(await readFile(join(folder, "run.json"), "utf8")) as object;
  t.like(json, {
    format: 1,
    started_at: "2026-01-09T12:00:00.000Z",
    argv: facts.argv,
    seeds: facts.seeds,
    model: facts.model,
    tokenizer_hash: null,
    data: facts.data,
    code: facts.code,
  });
  t.deepEqual(await readRunFlags(folder), facts.flags);
});

test("readRunFlags prefers output.jsonl, and names what is missing or broken", async (t) => {
  const folder = await makeFolder(t);
  await t.throwsAsync(readRunFlags(folder), {
    instanceOf: UserError,
    message: /found neither output.jsonl nor run.json/,
  });
  const path = join(folder, "run.json");
  await writeFile(path, '{"format": 2, "flags": {}}');
  await t.throwsAsync(readRunFlags(folder), { instanceOf: UserError, message: /found format 2/ });
  await writeFile(path, '{"format": 1, "flags": []}');
  await t.throwsAsync(readRunFlags(folder), {
    instanceOf: UserError,
    message: /found \[\] in flags/,
  });
  await writeFile(join(folder, "output.jsonl"), '{"peft_type": "fft"}\n');
  await t.throwsAsync(readRunFlags(folder), { instanceOf: UserError });
  await writeFile(path, '{"format": 1, "flags": {"peft_type": "hira", "quant_type": "fp4"}}');
  t.deepEqual(await readRunFlags(folder), { peft_type: "fft", quant_type: "fp4" });
  await rm(path);
  t.deepEqual(await readRunFlags(folder), { peft_type: "fft" });
});

test("hashFile gives the size and SHA-256 of files of any length", async (t) => {
  const folder = await makeFolder(t);
  const path = join(folder, "file");
  await writeFile(path, "abc");
  const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  t.deepEqual(await hashFiles([path]), { [path]: { bytes: 3, sha256: abc } });
  await writeFile(path, Buffer.alloc(1_000_000, "a"));
  // FIPS 180-2, appendix B.3.
  const million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  t.deepEqual(await hashFile(path), { bytes: 1_000_000, sha256: million });
  await writeFile(path, Buffer.alloc(3_000_001));
  t.is((await hashFile(path)).bytes, 3_000_001);
  const stopped = AbortSignal.abort(new Error("stopped"));
  await t.throwsAsync(hashFile(path, stopped), { message: "stopped" });
  await t.throwsAsync(hashFile(`${path}.gone`), {
    instanceOf: UserError,
    message: /found no such file/,
  });
  await t.throwsAsync(hashFile(folder), {
    instanceOf: UserError,
    message: /found a folder, expected a file/,
  });
});

test("readCodeVersion names this package, and its commit where there is one", async (t) => {
  const { version, commit, dirty } = await readCodeVersion();
  t.regex(version, /^\d+\.\d+\.\d+/);
  t.true(commit === null ? dirty === null : /^[0-9a-f]{40}$/.test(commit));
});

test("describeHost leaves nothing empty", (t) => {
  for (const [key, value] of Object.entries(describeHost("1.30.0"))) t.truthy(value, key);
});
