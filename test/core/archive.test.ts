import { gzipSync } from "node:zlib";
import test from "ava";
import { readTar, readZip, type ArchiveEntry } from "../../src/core/archive.js";
import { UserError } from "../../src/core/errors.js";
import { makeTar, makeZip } from "../support/make-archive.js";

const files = {
  "folder/a.txt": "one\n".repeat(1000),
  "folder/é.txt": "",
  [`folder/${"long".repeat(40)}.txt`]: "two",
};

const contents = (entries: readonly ArchiveEntry[]): Record<string, string> =>
  Object.fromEntries(entries.map((entry) => [entry.name, entry.read().toString()]));

test("readZip gives deflated and stored files, and readTar those of an archive with gzip or without", (t) => {
  t.deepEqual(contents(readZip(makeZip(files), "a.zip")), files);
  t.deepEqual(contents(readZip(makeZip(files, { stores: true }), "a.zip")), files);
  t.deepEqual(contents(readTar(makeTar(files), "a.tar")), files);
  t.deepEqual(contents(readTar(gzipSync(makeTar(files)), "a.tgz")), files);
});

test("an archive that is cut off, damaged or none is refused by name", (t) => {
  const [zip, tar] = [makeZip(files), makeTar(files)];
  const cases: readonly (readonly [string, () => unknown, RegExp])[] = [
    ["no zip", () => readZip(Buffer.from("nothing"), "a"), /^Cannot unpack a: found no directory/],
    ["empty", () => readZip(Buffer.alloc(0), "a"), /found no directory at its end/],
    ["cut zip", () => readZip(zip.subarray(0, -30), "a"), /found no directory at its end/],
    ["no tar", () => readTar(Buffer.alloc(2048, 65), "a"), /found no header at byte 0/],
    ["cut tar", () => readTar(tar.subarray(0, 2000), "a"), /found it cut off/],
    ["empty tar", () => readTar(Buffer.alloc(1024), "a"), /found no files/],
    ["broken gzip", () => readTar(gzipSync(tar).subarray(0, 100), "a"), /found damaged data/],
  ];
  for (const [what, read, message] of cases)
    t.throws(read, { instanceOf: UserError, message }, what);
});

test("a file of a zip that does not unpack to its size is refused, and an encrypted one", (t) => {
  const zip = makeZip({ "a.txt": "text ".repeat(100) });
  const directory = zip.indexOf(Buffer.from("PK\u0001\u0002", "latin1"));
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(zip);
    change(bytes);
    return bytes;
  };
  const read = (bytes: Buffer) => () => readZip(bytes, "z")[0]?.read();
  t.throws(read(changed((bytes) => bytes.writeUInt32LE(600, directory + 24))), {
    message: /^Cannot unpack z, a\.txt: found 500 bytes, expected 600/,
  });
  // What unpacks to more than it says is not unpacked to its end.
  t.throws(read(changed((bytes) => bytes.writeUInt32LE(10, directory + 24))), {
    message: /found damaged data/,
  });
  t.throws(read(changed((bytes) => bytes.writeUInt16LE(1, directory + 8))), {
    message: /found an encrypted file/,
  });
  t.throws(read(changed((bytes) => bytes.writeUInt16LE(9, directory + 10))), {
    message: /found packing method 9, expected 0 or 8/,
  });
});
