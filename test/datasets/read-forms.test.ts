import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { loadSplit } from "../../src/datasets/load-split.js";
import { readRecords } from "../../src/datasets/read-records.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import { makeFolder } from "../support/make-folder.js";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/datasets/${name}`, import.meta.url));

const recordsOf = async (t: ExecutionContext, name: string, content: string | Uint8Array) => {
  const folder = await makeFolder(t, { [name]: content });
  return (await readRecords(join(folder, name))).records;
};

const faultOf = async (
  t: ExecutionContext,
  name: string,
  content: string | Uint8Array,
): Promise<UserError | undefined> => {
  const folder = await makeFolder(t, { [name]: content });
  return t.throwsAsync(readRecords(join(folder, name)), { instanceOf: UserError });
};

test("readRecords reads CSV: quotes, commas and line ends in fields, blank lines, places by line", async (t) => {
  const text = 'a,b\r\n1,"x, ""y"""\r\n\r\n2,"two\nlines"\n3,\n';
  t.deepEqual(await recordsOf(t, "rows.csv", text), [
    { place: "line 2", value: { a: "1", b: 'x, "y"' } },
    { place: "line 4", value: { a: "2", b: "two\nlines" } },
    { place: "line 6", value: { a: "3", b: "" } },
  ]);
});

test("readRecords reads TSV, in which quotes are text", async (t) => {
  t.deepEqual(await recordsOf(t, "rows.tsv", '\ufeffsentence\tlabel\n"hello\t1\nsay "so"\t0\n'), [
    { place: "line 2", value: { sentence: '"hello', label: "1" } },
    { place: "line 3", value: { sentence: 'say "so"', label: "0" } },
  ]);
});

const broken: readonly (readonly [name: string, text: string, fault: RegExp, hint: RegExp])[] = [
  ["open.csv", 'a,b\n1,"x\n2,y\n', /found the file's end inside a quoted field/, /double quotes/],
  ["behind.csv", 'a,b\n1,"x"y\n', /line 2: found text behind a field's closing quote/, /double/],
  ["inside.csv", 'a,b\n1,x"y\n', /line 2: found a quote inside a field that does not/, /double/],
  ["wide.csv", "a,b\n1,2\n1,2,3\n", /line 3: found 3 fields, expected as many as/, /double/],
  ["wide.tsv", 'a\tb\n1\t"x\ny"\n', /line 3: found 1 fields/, /save such a table as \.csv/],
  ["twice.csv", "a,a\n1,2\n", /line 1: found two columns "a"/, /first line names/],
  ["nameless.csv", "a,\n1,2\n", /line 1: found a column without a name/, /first line names/],
];
for (const [name, text, fault, hint] of broken)
  test(`readRecords says what is wrong with ${name}`, async (t) => {
    const error = await faultOf(t, name, text);
    t.regex(error?.message ?? "", fault);
    t.regex(error?.hint ?? "", hint);
  });

test("a table without rows is told", async (t) => {
  for (const text of ["", "a,b\n"])
    t.regex((await faultOf(t, "rows.csv", text))?.message ?? "", /found no rows/);
});

for (const codec of ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
  test(`readRecords reads Parquet, packed with ${codec}`, async (t) => {
    const { records } = await readRecords(fixture(`questions-${codec}.parquet`));
    t.deepEqual(records[0], {
      place: "row 1",
      value: { subject: "sums", question: "1 + 1?", choices: ["1", "2", "3", "4"], answer: 1 },
    });
    t.is(records[2]?.value.question, "Wer heißt 日本?\nThe second line");
    t.is(records.length, 3);
  });

test("a set is found in Parquet as the Hub serves it, and other columns are told", async (t) => {
  const file = await readFile(fixture("questions-snappy.parquet"));
  const root = await makeFolder(t, {
    "mmlu/all/test-00000-of-00001.parquet": file,
    "mmlu/validation.parquet": file,
    "samsum/train.parquet": file,
  });
  const mmlu = findSingleDataset("mmlu");
  for (const split of ["test", "validation"] as const)
    t.deepEqual(
      (await loadSplit(mmlu, split, { root })).rows.map(({ target }) => target),
      ["B", "A", "D"],
    );
  await t.throwsAsync(loadSplit(findSingleDataset("samsum"), "train", { root }), {
    instanceOf: UserError,
    message:
      /train\.parquet, row 1: found fields subject, question, choices, answer, expected dialogue and summary/,
  });
});

test("Parquet in several shards is read as one file, with its places, and a missing shard is told", async (t) => {
  const shards = await Promise.all(
    ["brotli", "lz4", "zstd"].map((codec) => readFile(fixture(`questions-${codec}.parquet`))),
  );
  const [first, second, third] = shards;
  const root = await makeFolder(t, {
    "mmlu/data/test-00000-of-00003.parquet": first ?? "",
    "mmlu/data/test-00001-of-00003.parquet": second ?? "",
    "mmlu/data/test-00002-of-00003.parquet": third ?? "",
    "mmlu/validation-00000-of-00002.parquet": first ?? "",
  });
  const mmlu = findSingleDataset("mmlu");
  const loaded = await loadSplit(mmlu, "test", { root });
  t.is(loaded.rows.map(({ target }) => target).join(""), "BADBADBAD");
  t.is(loaded.sha256, createHash("sha256").update(Buffer.concat(shards)).digest("hex"));
  const { records } = await readRecords(loaded.path);
  t.is(records[4]?.place, "test-00001-of-00003.parquet, row 2");
  t.is((await readRecords(loaded.path.replace("00000-of", "00001-of"))).records.length, 3);
  await t.throwsAsync(loadSplit(mmlu, "validation", { root }), {
    instanceOf: UserError,
    message: /found 1 of its 2 shards, expected validation-00001-of-00002\.parquet beside it/,
  });
});

test("Parquet that is cut off, damaged or something else is told", async (t) => {
  const file = await readFile(fixture("questions-snappy.parquet"));
  const messages = await Promise.all(
    [file.subarray(0, file.length / 2), Buffer.from("a,b\n1,2\n"), damaged(file)].map(
      async (content) => (await faultOf(t, "rows.parquet", content))?.message ?? "",
    ),
  );
  t.regex(messages[0] ?? "", /found no PAR1 at its end/);
  t.regex(messages[1] ?? "", /found other bytes than PAR1 at its start/);
  t.regex(messages[2] ?? "", /found a damaged Parquet file/);
});

const damaged = (file: Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(file);
  copy.fill(0xff, copy.length - 60, copy.length - 12);
  return copy;
};

test("bytes of another encoding are told with their lines, in JSON Lines and CSV", async (t) => {
  const latin = (text: string): Buffer => Buffer.from(text, "latin1");
  const lines = latin('{"a": "fine"}\n{"a": "caf\u00e9"}\n{"a": "fine"}\n{"a": "na\u00efve"}\n');
  t.regex(
    (await faultOf(t, "rows.jsonl", lines))?.message ?? "",
    /Cannot read .*rows\.jsonl, line 2: found bytes that are not UTF-8\n.*line 4: found bytes/,
  );
  t.regex((await faultOf(t, "rows.csv", latin("a\ncaf\u00e9\n")))?.message ?? "", /line 2: found/);
});

test("fields of the wrong type are told, all of them", async (t) => {
  const root = await makeFolder(t, {
    "samsum/train.json": '[{"dialogue": 5, "summary": "s"}, {"dialogue": "d", "summary": null}]',
  });
  const error = await t.throwsAsync(loadSplit(findSingleDataset("samsum"), "train", { root }), {
    instanceOf: UserError,
  });
  t.regex(error?.message ?? "", /row 1: found dialogue as a number, expected strings/);
  t.regex(error?.message ?? "", /row 2: found summary as null/);
});

test("100 MB on one line are read, as an array and as a row", async (t) => {
  const long = "x".repeat(100_000_000);
  const [row] = await recordsOf(t, "rows.jsonl", `{"a": "${long}"}`);
  t.is((row?.value.a as string).length, long.length);
  const item = `{"a": "${"y".repeat(9_990)}"}`;
  const many = `[${Array.from({ length: 10_000 }, () => item).join(", ")}]`;
  t.is((await recordsOf(t, "rows.json", many)).length, 10_000);
});

test("100 MB on one line that break off are told in a short message", async (t) => {
  const error = await faultOf(t, "rows.json", `[{"a": "${"x".repeat(100_000_000)}`);
  t.regex(error?.message ?? "", /Cannot read .*rows\.json, line 1, column \d+: found/);
  t.true((error?.message.length ?? 0) < 1000);
});
