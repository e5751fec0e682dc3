import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { readRecords, stringFields } from "../../src/datasets/read-records.js";
import { makeFolder } from "../support/make-folder.js";

const rows = [{ a: "é 日本" }, { a: "2", b: 1 }];
const array = JSON.stringify(rows, undefined, 2);
const lines = `${rows.map((row) => JSON.stringify(row)).join("\r\n\n")}\n`;

test("readRecords reads .json and .jsonl, packed or not", async (t) => {
  const files = {
    "rows.json": array,
    "rows.jsonl": lines,
    "rows.json.gz": gzipSync(array),
    "rows.jsonl.gz": gzipSync(lines),
  };
  const folder = await makeFolder(t, files);
  for (const name of Object.keys(files)) {
    const { records, sha256 } = await readRecords(join(folder, name));
    t.deepEqual(
      records.map(({ value }) => value),
      rows,
    );
    t.regex(sha256, /^[0-9a-f]{64}$/);
    t.deepEqual(
      records.map(({ place }) => place),
      name.includes("jsonl") ? ["line 1", "line 3"] : ["row 1", "row 2"],
    );
  }
});

for (const [name, content, message] of [
  [
    "broken.json",
    '[{"a": 1},\n{"a": 2,}]',
    /broken\.json, line 2, column 9: found "}", expected a key/,
  ],
  [
    "broken.jsonl",
    '{"a": 1}\n\n{"a": 2\n',
    /broken\.jsonl, line 3, column 8: .*expected "," or "}"/,
  ],
  [
    "array-cut.jsonl",
    '[{"a": 1},\n{"a": 2},\n{"a": ',
    /array-cut\.jsonl, line 3, column 7: found the end of the text, expected a value/,
  ],
  [
    "pretty.jsonl",
    '{\n  "a": 1\n}\n{\n  "a": 1,\n}\n',
    /pretty\.jsonl, line 6, column 1: found "}", expected a key/,
  ],
  [
    "lines.json",
    '{"a": 1}\n{"a": 2\n{"a": 3}\n{"a" 4}\n{"a": 5}',
    /lines\.json, line 2, column 8: .*expected "," or "}"\n {2}line 4, column 6: found "4", expected ":"$/,
  ],
  [
    "behind.json",
    '{"a": 1} {"a": 2}\n  7',
    /behind\.json, line 2: found a number, expected an object/,
  ],
  [
    "mixed.json",
    '[{"a": 1}, 5, {}, ["b"], null]',
    /mixed\.json, row 2: found a number, expected an object\n {2}row 4: found an array, .*\n {2}row 5: found null/,
  ],
  ["mixed.jsonl", '{"a": 1}\n"text"\n', /mixed\.jsonl, line 2: found a string, expected an object/],
  ["empty.json", "[]", /empty\.json: found no rows/],
  ["empty.jsonl", "\n\n", /empty\.jsonl: found no rows/],
  ["cut.json.gz", gzipSync(array).subarray(0, 20), /Cannot unpack .*cut\.json\.gz/],
  [
    "latin.json",
    Buffer.from([0x22, 0xe9, 0x22]),
    /latin\.json, line 1: found bytes that are not UTF-8/,
  ],
] as const) {
  test(`readRecords says what is wrong with ${name}`, async (t) => {
    const folder = await makeFolder(t, { [name]: content });
    await t.throwsAsync(readRecords(join(folder, name)), { instanceOf: UserError, message });
  });
}

const forms: readonly (readonly [form: string, text: string | Buffer, places: string])[] = [
  ["an array", array, "row 1, row 2"],
  ["an array in one line", JSON.stringify(rows), "row 1, row 2"],
  ["JSON Lines", lines, "line 1, line 3"],
  ["a byte order mark before an array", `\ufeff${array}`, "row 1, row 2"],
  ["a byte order mark before every line", `\ufeff${lines.replace("\n\n", "\n\ufeff")}`, ""],
  ["UTF-16 with its mark", Buffer.from(`\ufeff${array}`, "utf16le"), "row 1, row 2"],
  ["objects side by side", rows.map((row) => JSON.stringify(row)).join(""), ""],
  ["objects over several lines", rows.map((row) => JSON.stringify(row, null, 1)).join("\n"), ""],
  ["arrays one behind the other", rows.map((row) => JSON.stringify([row], null, 1)).join("\n"), ""],
  ["an array in gzip", gzipSync(array), "row 1, row 2"],
];
for (const [form, text, places] of forms)
  for (const name of ["rows.json", "rows.jsonl"])
    test(`readRecords reads ${form} in ${name} (9.27)`, async (t) => {
      const folder = await makeFolder(t, { [name]: text });
      const { records } = await readRecords(join(folder, name));
      t.deepEqual(
        records.map(({ value }) => value),
        rows,
      );
      if (places !== "") t.is(records.map(({ place }) => place).join(", "), places);
    });

test("readRecords takes one object over several lines for one row, and says where each row begins (9.27)", async (t) => {
  const folder = await makeFolder(t, {
    "one.json": '\n{\n  "a": "{[\\"}"\n}\n',
    "some.jsonl": '{"a": 1}{"a": 2}\n\n{"a":\n3} {"a": 4}',
  });
  t.deepEqual((await readRecords(join(folder, "one.json"))).records, [
    { place: "line 2", value: { a: '{["}' } },
  ]);
  const { records } = await readRecords(join(folder, "some.jsonl"));
  t.deepEqual(
    records.map(({ place }) => place),
    ["line 1", "line 1, column 9", "line 3", "line 4, column 4"],
  );
});

test("readRecords says that a file is missing", async (t) => {
  await t.throwsAsync(readRecords(join("nowhere", "rows.json")), {
    instanceOf: UserError,
    message: /Cannot read nowhere.rows\.json/,
  });
});

test("stringFields lists every row that lacks a field or has another type in it", async (t) => {
  const text = JSON.stringify([
    { instruction: "i", output: "o" },
    { question: "q" },
    { instruction: "i", output: 7 },
    {},
  ]);
  const folder = await makeFolder(t, { "train.json": text });
  const file = await readRecords(join(folder, "train.json"));
  const error = t.throws(() => stringFields(file, ["instruction", "output"]), {
    instanceOf: UserError,
  });
  t.regex(
    error?.message ?? "",
    /train\.json, row 2: found fields question, expected strings in instruction and output\n {2}row 3: found output as a number, .*\n {2}row 4: found no fields/,
  );
});

test("stringFields counts many rows of one kind (9.29)", async (t) => {
  const text = JSON.stringify(Array.from({ length: 25 }, () => ({ b: 1 })));
  const folder = await makeFolder(t, { "train.json": text });
  const file = await readRecords(join(folder, "train.json"));
  t.throws(() => stringFields(file, ["a"]), {
    message: /, row 1: found fields b, expected .*\n {2}and 24 more of this kind, up to row 25$/,
  });
});
