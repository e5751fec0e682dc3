import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { addressOf, fetchSource, type FetchOptions } from "../../src/datasets/fetch-source.js";
import type { DataSource, KnownHash, SourceFile } from "../../src/datasets/source.js";
import { readSourceRecord } from "../../src/datasets/source-record.js";
import { startFileServer, type FileServer } from "../support/file-server.js";
import { makeTar, makeZip } from "../support/make-archive.js";
import { makeTempFolder } from "../support/temp-folder.js";

const sha256 = (content: string | Buffer): string =>
  createHash("sha256").update(content).digest("hex");
const gitBlob = (content: string): string =>
  createHash("sha1")
    .update(`blob ${String(Buffer.byteLength(content))}\0${content}`)
    .digest("hex");

const rows = JSON.stringify([{ instruction: "q", output: "true" }]);

const sourceWith = (...files: readonly SourceFile[]): DataSource => ({
  title: "made up",
  page: "https://publisher.example/",
  licence: { name: "none", isRead: true },
  files,
});

const fileAt = (path: string, rest: Partial<SourceFile> = {}): SourceFile => ({
  url: `https://publisher.example/${path}`,
  path: `set/${path}`,
  ...rest,
});

/** A server that stands for publisher.example, and a new data root. */
const start = async (
  t: ExecutionContext,
  files: Readonly<Record<string, string | Buffer>>,
): Promise<{ server: FileServer; root: string; options: FetchOptions }> => {
  const served = Object.entries(files).map(
    ([name, content]) => [`/publisher.example/${name}`, { content: Buffer.from(content) }] as const,
  );
  const server = await startFileServer(t, Object.fromEntries(served));
  const root = join(await makeTempFolder(t), "data");
  const options: FetchOptions = {
    root,
    mirror: server.address,
    environment: {},
    network: { attempts: 2, waitMs: 1 },
  };
  return { server, root, options };
};

for (const [what, hash, check] of [
  ["SHA-256", { sha256: sha256(rows), basis: "bytes" }, "bytes"],
  ["git's blob id", { gitBlob: gitBlob(rows), basis: "tree" }, "tree"],
] as const satisfies readonly (readonly [string, KnownHash, string])[])
  test(`a file comes once, is checked by its ${what}, and is recorded`, async (t) => {
    const { server, root, options } = await start(t, { "train.json": rows });
    const source = sourceWith(fileAt("train.json", { hash }));
    const { files, missing } = await fetchSource(source, options);
    const file = { path: "set/train.json", bytes: rows.length, sha256: sha256(rows), check };
    t.deepEqual(files, [{ ...file, state: "fetched" }]);
    t.deepEqual(missing, []);
    t.is(await readFile(join(root, "set/train.json"), "utf8"), rows);
    t.deepEqual(await readdir(join(root, "set")), ["train.json"]);
    const { fetched, ...recorded } = (await readSourceRecord(root))["set/train.json"] ?? {};
    t.deepEqual(recorded, {
      url: "https://publisher.example/train.json",
      bytes: rows.length,
      sha256: sha256(rows),
    });
    t.regex(fetched ?? "", /^\d{4}-\d\d-\d\dT.*Z$/);
    t.deepEqual((await fetchSource(source, options)).files, [{ ...file, state: "there" }]);
    t.is(server.seen.length, 1);
  });

test("a wrong hash is refused with both, nothing stands in the place, and --accept_sha256 takes that file", async (t) => {
  const { root, options } = await start(t, { "train.json": rows });
  const other = sha256("other");
  for (const [basis, hint] of [
    ["bytes", /changed at its publisher, or on its way/],
    ["told", /The publisher's file itself was not at hand/],
  ] as const) {
    const source = sourceWith(fileAt("train.json", { hash: { sha256: other, basis } }));
    const error = await t.throwsAsync(fetchSource(source, options), { instanceOf: UserError });
    t.true(error?.message.includes(`found SHA-256 ${sha256(rows)}, expected ${other} (`));
    t.regex(error?.hint ?? "", hint);
    t.true((error?.hint ?? "").includes(`--accept_sha256=${sha256(rows)}`));
    t.deepEqual(await readdir(join(root, "set")), []);
  }
  const blob = sourceWith(
    fileAt("train.json", { hash: { gitBlob: gitBlob("other"), basis: "tree" } }),
  );
  await t.throwsAsync(fetchSource(blob, options), {
    message: /expected git's blob [0-9a-f]{40} \(/,
  });
  const accepted = new Set([sha256(rows)]);
  const { files } = await fetchSource(blob, { ...options, accepted });
  t.is(files[0]?.check, "accepted");
  // From then on the record speaks for it.
  t.is((await fetchSource(blob, options)).files[0]?.check, "recorded");
});

test("a file that nobody knows is taken the first time, and has to be the same ever after", async (t) => {
  const { server, root, options } = await start(t, { "test.parquet": "PAR1 one" });
  const source = sourceWith(fileAt("test.parquet"));
  t.is((await fetchSource(source, options)).files[0]?.check, "first");
  await writeFile(join(root, "set/test.parquet"), "changed by hand");
  const inTheWay = await t.throwsAsync(fetchSource(source, options), { instanceOf: UserError });
  t.regex(
    inTheWay?.message ?? "",
    /^Cannot fetch over these files.*: .*test\.parquet: found a file of SHA-256 |^Cannot fetch over these files/,
  );
  t.is((await fetchSource(source, { ...options, overwrite: true })).files[0]?.check, "recorded");

  server.files.set("/publisher.example/test.parquet", { content: Buffer.from("PAR1 two") });
  await writeFile(join(root, "set/test.parquet"), "x");
  await t.throwsAsync(fetchSource(source, { ...options, overwrite: true }), {
    instanceOf: UserError,
    message: /expected [0-9a-f]{64} as when it first came \(.*hira-sources\.json\)$/,
  });
  t.is(await readFile(join(root, "set/test.parquet"), "utf8"), "x");
});

test("a file of somebody's own, of which nothing is known, stays as it is", async (t) => {
  const { server, root, options } = await start(t, { "test.parquet": "PAR1 one" });
  await mkdir(join(root, "set"), { recursive: true });
  await writeFile(join(root, "set/test.parquet"), "mine");
  const { files } = await fetchSource(sourceWith(fileAt("test.parquet")), options);
  t.is(files[0]?.state, "there");
  t.is(files[0]?.check, undefined);
  t.is(server.seen.length, 0);
});

test("a page in the file's place is told as one, even where no hash is known", async (t) => {
  const { options, root } = await start(t, { "a.json": "<!DOCTYPE html><title>Sign in</title>" });
  for (const hash of [undefined, { sha256: sha256(rows), basis: "bytes" } as const]) {
    const error = await t.throwsAsync(
      fetchSource(sourceWith(fileAt("a.json", hash === undefined ? {} : { hash })), options),
      { instanceOf: UserError, message: /: found a web page, expected the file itself$/ },
    );
    t.regex(error?.hint ?? "", /sign-in page/);
    t.deepEqual(await readdir(join(root, "set")), []);
  }
});

test("parts that do not belong together are fetched again from the start before they are refused", async (t) => {
  const { server, root, options } = await start(t, { "train.json": rows });
  await mkdir(join(root, "set"), { recursive: true });
  const part = join(root, "set/.train.json.part");
  await writeFile(part, "another file's beginning".slice(0, 8));
  const url = `${server.address}/publisher.example/train.json`;
  await writeFile(`${part}.json`, JSON.stringify({ url }));
  const hash = { sha256: sha256(rows), basis: "bytes" } as const;
  await fetchSource(sourceWith(fileAt("train.json", { hash })), options);
  t.is(await readFile(join(root, "set/train.json"), "utf8"), rows);
  t.deepEqual(
    server.seen.map(({ range }) => range),
    ["bytes=8-", undefined],
  );
});

for (const [form, pack] of [
  ["zip", makeZip],
  ["tar", (files: Record<string, string>) => gzipSync(makeTar(files))],
] as const)
  test(`members of a ${form} archive are checked and put in their places, and the archive goes`, async (t) => {
    const archive = pack({ "deep/train.txt": "train", "deep/valid.txt": "valid", other: "o" });
    const { server, root, options } = await start(t, { "all.bin": archive });
    const members = [
      { from: "train.txt", path: "set/train.txt" },
      {
        from: "valid.txt",
        path: "set/valid.txt",
        hash: { sha256: sha256("valid"), basis: "copy" },
      },
    ] as const;
    const file = fileAt("all.bin", { archive: form, members });
    const { files } = await fetchSource(sourceWith(file), options);
    t.deepEqual(
      files.map(({ path, check }) => [path, check]),
      [
        ["set/train.txt", "first"],
        ["set/valid.txt", "copy"],
      ],
    );
    t.deepEqual((await readdir(join(root, "set"))).sort(), ["train.txt", "valid.txt"]);
    t.is((await readSourceRecord(root))["set/all.bin"]?.sha256, sha256(archive));
    t.true(
      (await fetchSource(sourceWith(file), options)).files.every(({ state }) => state === "there"),
    );
    t.is(server.seen.length, 1);
  });

test("wrong and missing members are told, none of them stands in its place, and a damaged archive is not kept", async (t) => {
  const archive = makeZip({ "a.txt": "a", "b.txt": "b" });
  const { server, root, options } = await start(t, { "all.zip": archive });
  const wrong = (name: string) => ({
    from: `${name}.txt`,
    path: `set/${name}.txt`,
    hash: { sha256: sha256("x"), basis: "copy" as const },
  });
  const twice = sourceWith(
    fileAt("all.zip", { archive: "zip", members: [wrong("a"), wrong("b")] }),
  );
  const error = await t.throwsAsync(fetchSource(twice, options), { instanceOf: UserError });
  t.regex(error?.message ?? "", /a\.txt: found SHA-256 .*\n.*b\.txt: found SHA-256 /);
  t.deepEqual(
    (await readdir(join(root, "set"))).filter((name) => !name.startsWith(".all.zip.part")),
    [],
  );
  // The archive stays as a part: who stands for it needs no second one.
  const accepted = new Set([sha256(archive)]);
  const { files } = await fetchSource(twice, { ...options, accepted });
  t.deepEqual(
    files.map(({ check }) => check),
    ["accepted", "accepted"],
  );
  const gone = sourceWith(
    fileAt("all.zip", { archive: "zip", members: [{ from: "c.txt", path: "set/c.txt" }] }),
  );
  await t.throwsAsync(fetchSource(gone, options), {
    message: /found no c\.txt in it, expected one/,
  });
  server.files.set("/publisher.example/new.zip", { content: Buffer.from("no archive at all") });
  const damaged = sourceWith(
    fileAt("new.zip", { archive: "zip", members: [{ from: "d.txt", path: "set/d.txt" }] }),
  );
  await t.throwsAsync(fetchSource(damaged, options), { message: /expected a zip archive/ });
  t.false((await readdir(join(root, "set"))).includes(".new.zip.part"));
});

test("an archive that has to be unpacked by hand is kept, and its members are checked when they are there", async (t) => {
  const { root, server, options } = await start(t, { "corpus.7z": "7z..." });
  const members = [
    { from: "train.json", path: "set/train.json", hash: { sha256: sha256(rows), basis: "copy" } },
  ] as const;
  const source = sourceWith(fileAt("corpus.7z", { archive: "by hand", members }));
  const first = await fetchSource(source, options);
  t.deepEqual(first.missing, ["set/train.json"]);
  t.deepEqual(
    first.files.map(({ path, state }) => [path, state]),
    [["set/corpus.7z", "fetched"]],
  );
  // Once more without unpacking: nothing is fetched again.
  t.deepEqual((await fetchSource(source, options)).missing, ["set/train.json"]);
  t.is(server.seen.length, 1);
  await writeFile(join(root, "set/train.json"), rows);
  const done = await fetchSource(source, options);
  t.deepEqual(done.missing, []);
  t.is(done.files[0]?.check, "copy");
});

test("DailyDialog's text files become JSON Lines of dialogues", async (t) => {
  const inner = makeZip({
    "test/dialogues_test.txt":
      "Hi there . __eou__ Hello ! __eou__\nGo ? __eou__ Yes . __eou__ Now . __eou__\n",
    "test/dialogues_act_test.txt": "1 1 \n2 1 3 \n",
    "test/dialogues_emotion_test.txt": "0 4 \n0 0 0 \n",
  });
  const { root, options } = await start(t, {
    "all.zip": makeZip({
      "EMNLP_dataset/test.zip": inner,
      "__MACOSX/EMNLP_dataset/._test.zip": "",
    }),
  });
  const members = [{ from: "EMNLP_dataset/test.zip", path: "set/test.jsonl" }];
  const file = fileAt("all.zip", { archive: "zip", conversion: "dailydialog", members });
  await fetchSource(sourceWith(file), options);
  const text = await readFile(join(root, "set/test.jsonl"), "utf8");
  t.deepEqual(
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
    [
      { dialog: ["Hi there .", "Hello !"], act: [1, 1], emotion: [0, 4] },
      { dialog: ["Go ?", "Yes .", "Now ."], act: [2, 1, 3], emotion: [0, 0, 0] },
    ],
  );
  // A converted file is known by what was recorded of it.
  t.is((await fetchSource(sourceWith(file), options)).files[0]?.check, "recorded");
});

test("addressOf puts a mirror, or the Hub's other address, in the publisher's place", (t) => {
  const url = "https://huggingface.co/datasets/a/b/resolve/c/d.parquet";
  t.is(addressOf(url, {}), url);
  t.is(
    addressOf(url, { mirror: "https://m.example/x/" }),
    "https://m.example/x/huggingface.co/datasets/a/b/resolve/c/d.parquet",
  );
  const environment = { HF_ENDPOINT: "https://hub.example" };
  t.is(addressOf(url, { environment }), "https://hub.example/datasets/a/b/resolve/c/d.parquet");
  t.is(addressOf("http://other.example/a", { environment }), "http://other.example/a");
});

test("a broken record is refused by name", async (t) => {
  const { root, options } = await start(t, {});
  await mkdir(root, { recursive: true });
  await writeFile(join(root, "hira-sources.json"), '{"a": 1}');
  await t.throwsAsync(fetchSource(sourceWith(), options), {
    instanceOf: UserError,
    message: /^Cannot read .*hira-sources\.json: found something else than the record/,
  });
});
