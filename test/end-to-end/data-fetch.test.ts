import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import test from "ava";
import { sourceNames } from "../../src/datasets/sources.js";
import { startFileServer } from "../support/file-server.js";
import { makeFolder } from "../support/make-folder.js";
import { makeZip } from "../support/make-archive.js";
import { runHira } from "../support/run-hira.js";
import { sharedPath, testWithShared } from "../support/shared.js";
import { startHira } from "../support/start-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

// The servers of these tests are on this machine, whatever proxy it has.
process.env["no_proxy"] = "127.0.0.1";

testWithShared(
  "hira data fetch puts a set where --dataset reads it, says its terms first, and has nothing to do the second time",
  "data/data_file/llm_adapt/openbookqa",
  async (t, folder) => {
    const root =
      "/raw.githubusercontent.com/AGI-Edgerunners/LLM-Adapters/816657208af4db747803f87ba40a4c71383fed7a/dataset/openbookqa";
    const content = {
      train: await readFile(join(folder, "train.json")),
      test: await readFile(join(folder, "test.json")),
    };
    const server = await startFileServer(t, {
      // Cut once on its way.
      [`${root}/train.json`]: {
        content: content.train,
        cut: { after: 500_000, times: 1 },
        etag: '"1"',
      },
      [`${root}/test.json`]: { content: content.test },
    });
    const data = join(await makeTempFolder(t), "data");
    const line = ["data", "fetch", "obqa", `--data_dir=${data}`, `--mirror=${server.address}`];
    const { code, out, err } = await runHira(...line);
    t.is(code, 0, err);
    t.is(err, "warning: the connection was cut; trying again\n");
    t.regex(out, /^obqa: licence ODC-By 1\.0; Apache-2\.0 \(https:/);
    t.regex(out, /^llm_adapt\/openbookqa\/train\.json {2}2 MiB {2}fetched; its hash is right/m);
    t.deepEqual(await readFile(join(data, "llm_adapt/openbookqa/train.json")), content.train);
    const again = await runHira(...line);
    t.is(again.code, 0);
    t.regex(again.out, /test\.json {2}202545 bytes {2}is there; its hash is right/);
    t.is(server.seen.length, 3);
    const listed = await runHira("data", "list", "obqa", `--data_dir=${data}`);
    t.regex(listed.out, /in llm_adapt\/openbookqa: train, test/);
  },
);

test("hira data fetch says what DailyDialog's and SAMSum's licences forbid, before anything comes", async (t) => {
  const server = await startFileServer(t, {});
  const data = await makeTempFolder(t);
  const ask = ["data", "fetch", "samsum", "dailydialog", `--data_dir=${data}`];
  const { code, out, err } = await runHira(...ask, `--mirror=${server.address}`);
  t.is(code, 2);
  t.regex(
    out,
    /^samsum: licence CC BY-NC-ND 4\.0 \(.*\)\. No commercial use, and no changed copies/,
  );
  t.regex(out, /^dailydialog: licence CC BY-NC-SA 4\.0 \(.*\)\. No commercial use\./m);
  t.regex(err, /the server says 404 Not Found, it has no such file\n.*put it in its place/);
  t.deepEqual(
    (await readdir(data, { recursive: true })).filter((name) => /json|7z/.test(name)),
    [],
  );
});

test("hira data fetch of a set that has to be unpacked by hand says how, and exits 1 until it is", async (t) => {
  const server = await startFileServer(t, {
    "/arxiv.org/src/1911.12237v2/anc/corpus.7z": { content: Buffer.from("7z archive") },
  });
  const data = await makeTempFolder(t);
  const line = ["data", "fetch", "samsum", `--data_dir=${data}`, `--mirror=${server.address}`];
  const first = await runHira(...line);
  t.is(first.code, 1, first.err);
  t.regex(
    first.out,
    /corpus\.7z {2}10 bytes {2}fetched; nothing was known to check it against: its hash is recorded now/,
  );
  t.regex(first.out, /7z x corpus\.7z in that folder/);
  t.regex(
    first.err,
    /samsum: still missing in .*: samsum\/train\.json, samsum\/val\.json, samsum\/test\.json/,
  );
  const shared = sharedPath("data/data_file/samsum");
  if (shared === undefined) return;
  const { gunzipSync } = await import("node:zlib");
  const train = gunzipSync(await readFile(join(shared, "train.json.gz")));
  await writeFile(join(data, "samsum/train.json"), train);
  for (const name of ["val.json", "test.json"])
    await writeFile(join(data, "samsum", name), await readFile(join(shared, name)));
  const done = await runHira(...line);
  t.is(done.code, 0, done.err);
  t.regex(
    done.out,
    /val\.json {2}571716 bytes {2}is there; its hash is right \(reckoned from somebody's copy\)/,
  );
});

test("hira data fetch that was killed goes on where it was", async (t) => {
  const content = Buffer.from("PAR1 ".repeat(100_000));
  const hub =
    "/huggingface.co/datasets/cais/mmlu/resolve/c30699e8356da336a370243923dbaf21066bb9fe/all";
  const slow = { after: 300_000, times: 1, silent: true };
  const server = await startFileServer(t, {
    [`${hub}/dev-00000-of-00001.parquet`]: { content, etag: '"1"', cut: slow },
    [`${hub}/validation-00000-of-00001.parquet`]: { content },
    [`${hub}/test-00000-of-00001.parquet`]: { content },
  });
  const data = await makeTempFolder(t);
  const line = ["data", "fetch", "mmlu", `--data_dir=${data}`, `--mirror=${server.address}`];
  const { child, ended } = startHira(t, line);
  const part = join(data, "mmlu/.dev.parquet.part");
  const sizeOf = async (): Promise<number> => (await stat(part).catch(() => ({ size: 0 }))).size;
  while ((await sizeOf()) < 300_000) await setTimeout(20);
  child.kill("SIGKILL");
  await ended;
  t.deepEqual(await readdir(join(data, "mmlu")), [".dev.parquet.part", ".dev.parquet.part.json"]);
  const { code, err } = await runHira(...line);
  t.is(code, 0, err);
  t.deepEqual(await readFile(join(data, "mmlu/dev.parquet")), content);
  t.is(server.seen[1]?.range, "bytes=300000-");
  t.deepEqual((await readdir(join(data, "mmlu"))).sort(), [
    "dev.parquet",
    "test.parquet",
    "validation.parquet",
  ]);
});

test("hira data fetch refuses a file that is not the publisher's, and leaves nothing in its place", async (t) => {
  const path =
    "/huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip";
  const wiki =
    "/raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2";
  const server = await startFileServer(t, {
    [path]: { content: makeZip({ "wiki.test.raw": "text" }) },
    [`${wiki}/train.txt`]: { content: Buffer.from("another text") },
  });
  const data = await makeTempFolder(t);
  const line = ["data", "fetch", "wikitext2", `--data_dir=${data}`, `--mirror=${server.address}`];
  const { code, err } = await runHira(...line);
  t.is(code, 2);
  t.regex(
    err,
    /^error: Cannot take http:.*train\.txt: found SHA-256 [0-9a-f]{64}, expected 9e9fa1ad/,
  );
  t.regex(err, /--accept_sha256=[0-9a-f]{64} takes this very file/);
  t.deepEqual(await readdir(join(data, "wikitext-2")), []);
});

test("hira data fetch and list refuse unknown names and broken flags by name", async (t) => {
  const unknown = await runHira("data", "fetch", "boolqq", "nothing");
  t.is(unknown.code, 2);
  t.regex(
    unknown.err,
    /Cannot find the source of "boolqq", "nothing": expected some of .*common_all\n {2}Did you mean "boolq"\?/,
  );
  t.is((await runHira("data", "list", "boolqq")).code, 2);
  const none = await runHira("data", "fetch");
  t.regex(none.err, /Cannot fetch nothing: expected some of /);
  const flags = await runHira(
    "data",
    "fetch",
    "boolq",
    "--mirror=ftp://x",
    "--accept_sha256=12,zz",
  );
  t.is(flags.code, 2);
  t.regex(flags.err, /--mirror: found "ftp:\/\/x", expected an address/);
  t.regex(flags.err, /--accept_sha256: found "12", "zz", expected 64 hexadecimal digits/);
});

test("hira data fetch leaves other files alone without --overwrite, and a folder that cannot be made", async (t) => {
  const data = await makeFolder(t, { "llm_adapt/openbookqa/test.json": "[]", file: "" });
  const { code, err } = await runHira("data", "fetch", "obqa", `--data_dir=${data}`);
  t.is(code, 2);
  t.regex(err, /openbookqa\/test\.json: found a file of SHA-256 4f53cda/);
  t.regex(err, /--overwrite/);
  const server = await startFileServer(t, {});
  const broken = await runHira(
    ...["data", "fetch", "obqa", `--data_dir=${join(data, "file")}`, `--mirror=${server.address}`],
  );
  t.is(broken.code, 2);
  t.regex(broken.err, /^error: Cannot (?:read|write) .*file/);
});

test("hira data list names every set with what is there of it, in 80 columns, and as JSON", async (t) => {
  const data = await makeFolder(t, {
    "llm_adapt/boolq/train.jsonl.gz": "",
    "wikitext-2/wiki.valid.tokens": "",
    "samsum/val.json": "",
  });
  const { code, out, err } = await runHira("data", "list", `--data_dir=${data}`);
  t.is(code, 0, err);
  for (const line of out.split("\n").slice(1)) t.true(line.length <= 80, line);
  t.regex(out, /^boolq +train +ODC-By/m);
  t.regex(out, /^samsum +validation +CC BY-NC-ND 4\.0$/m);
  t.regex(out, /^wikitext2 +validation +CC BY-SA 3\.0$/m);
  t.regex(out, /^piqa +- +ODC-By/m);
  t.regex(out, /^samsum: No commercial use, and no changed copies/m);
  const json = await runHira("data", "list", "--json", `--data_dir=${data}`);
  const sets = JSON.parse(json.out) as { name: string; there: string[]; licence: object }[];
  t.deepEqual(
    sets.map(({ name }) => name),
    [...sourceNames],
  );
  t.deepEqual(sets.find(({ name }) => name === "boolq")?.there, ["train"]);
  const one = await runHira("data", "list", "samsum", `--data_dir=${data}`);
  t.regex(
    one.out,
    /samsum\/corpus\.7z: not there\n {6}SHA-256 not known: recorded when it first comes/,
  );
  t.regex(one.out, /samsum\/val\.json: 0 bytes there/);
  t.regex(one.out, /by hand: hira does not unpack 7z/);
  for (const line of one.out.split("\n")) t.true(line.length <= 80, line);
});
