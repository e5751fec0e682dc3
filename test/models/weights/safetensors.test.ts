import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../../src/core/errors.js";
import type { TensorToWrite } from "../../../src/models/weights/safetensors.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
  writeSafetensors,
} from "../../../src/models/weights/safetensors.js";
import { testWithShared } from "../../support/shared.js";
import { makeTempFolder } from "../../support/temp-folder.js";

/** Writes a file whose header is `header` (an object, or the text itself) before `dataBytes` zeros. */
const writeRaw = async (
  t: ExecutionContext,
  header: unknown,
  dataBytes: number,
  headerLength?: bigint,
): Promise<string> => {
  const path = join(await makeTempFolder(t), "model.safetensors");
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(text.length));
  await writeFile(path, Buffer.concat([length, text, Buffer.alloc(dataBytes)]));
  return path;
};

const f32 = (shape: unknown, data_offsets: unknown): object => ({
  dtype: "F32",
  shape,
  data_offsets,
});

const messageOfBroken = async (t: ExecutionContext, path: string): Promise<string> =>
  (await t.throwsAsync(readSafetensorsHeader(path), { instanceOf: UserError })).message;

test("writeSafetensors and readTensorData return every dtype bit for bit", async (t) => {
  const path = join(await makeTempFolder(t), "new", "all.safetensors");
  const tensors: TensorToWrite[] = [
    { name: "bool", dtype: "bool", shape: [3], data: Uint8Array.of(1, 0, 1) },
    { name: "bf16", dtype: "bfloat16", shape: [1, 3], data: Uint16Array.of(0x3f80, 1, 0xffff) },
    { name: "f16", dtype: "float16", shape: [1], data: Uint16Array.of(0x3c00) },
    { name: "f32", dtype: "float32", shape: [2, 1], data: Float32Array.of(-0, NaN) },
    { name: "f64", dtype: "float64", shape: [], data: Float64Array.of(Math.PI) },
    { name: "i64", dtype: "int64", shape: [2], data: BigInt64Array.of(-1n, 2n ** 62n) },
    { name: "i32", dtype: "int32", shape: [1], data: Int32Array.of(-100) },
    { name: "i8", dtype: "int8", shape: [1], data: Int8Array.of(-128) },
    { name: "u8", dtype: "uint8", shape: [1], data: Uint8Array.of(255) },
    { name: "nothing", dtype: "float32", shape: [0, 4], data: new Float32Array(0) },
    { name: "__proto__", dtype: "float32", shape: [1], data: () => Float32Array.of(7) },
  ];
  await writeSafetensors(path, tensors, { format: "pt", note: "a note" });

  const file = await readSafetensorsHeader(path);
  t.deepEqual(file.metadata, { format: "pt", note: "a note" });
  t.deepEqual([...file.entries.keys()].sort(), tensors.map(({ name }) => name).sort());
  for (const { name, dtype, shape, data } of tensors) {
    const entry = file.entries.get(name)!;
    t.is(entry.dtype, dtype);
    t.deepEqual(entry.shape, shape);
    t.deepEqual(await readTensorData(entry), typeof data === "function" ? await data() : data);
  }
});

test("writeSafetensors aligns every tensor to its element size, and keeps the order among equals", async (t) => {
  const path = join(await makeTempFolder(t), "model.safetensors");
  const one = (name: string): TensorToWrite => ({
    name,
    dtype: "float32",
    shape: [1],
    data: Float32Array.of(1),
  });
  await writeSafetensors(path, [
    { name: "odd", dtype: "uint8", shape: [3], data: new Uint8Array(3) },
    one("z"),
    one("a"),
    { name: "wide", dtype: "int64", shape: [1], data: BigInt64Array.of(5n) },
  ]);
  const { entries } = await readSafetensorsHeader(path);
  t.deepEqual([...entries.keys()], ["wide", "z", "a", "odd"]);
  t.deepEqual(
    [...entries.values()].map((e) => e.byteOffset % (e.byteLength / e.shape[0]!)),
    [0, 0, 0, 0],
  );
  const headerLength = Number((await readFile(path)).readBigUInt64LE());
  t.is(headerLength % 8, 0);
});

test("writeSafetensors refuses data that do not fit and leaves no file behind", async (t) => {
  const folder = await makeTempFolder(t);
  const path = join(folder, "model.safetensors");
  const good = { name: "a", dtype: "float32", shape: [2], data: Float32Array.of(1, 2) } as const;
  await t.throwsAsync(writeSafetensors(path, [{ ...good, shape: [3] }]), {
    instanceOf: RangeError,
    message: 'Cannot write "a": found 2 elements, expected 3 for [3]',
  });
  await t.throwsAsync(writeSafetensors(path, [{ ...good, dtype: "float16" }]), {
    instanceOf: TypeError,
    message: 'Cannot write "a": found Float32Array, expected Uint16Array',
  });
  await t.throwsAsync(writeSafetensors(path, [good, good]), { message: /found "a" twice/ });
  t.deepEqual(await readdir(folder), []);
});

test("readSafetensorsHeader follows symbolic links, as in the Hub's cache", async (t) => {
  const folder = await makeTempFolder(t);
  await mkdir(join(folder, "snapshot"));
  const blob = join(folder, "blob");
  await writeSafetensors(blob, [
    { name: "a", dtype: "float32", shape: [1], data: Float32Array.of(3) },
  ]);
  const link = join(folder, "snapshot", "model.safetensors");
  await symlink("../blob", link);
  const entry = (await readSafetensorsHeader(link)).entries.get("a")!;
  t.regex(entry.file, /blob$/);
  t.deepEqual(await readTensorAsFloat32(entry), Float32Array.of(3));
});

test("readTensorAsFloat32 widens half types and refuses integers", async (t) => {
  const path = join(await makeTempFolder(t), "model.safetensors");
  await writeSafetensors(path, [
    { name: "bf16", dtype: "bfloat16", shape: [2], data: Uint16Array.of(0x3f80, 0xc000) },
    { name: "f16", dtype: "float16", shape: [1], data: Uint16Array.of(0x3800) },
    { name: "f64", dtype: "float64", shape: [1], data: Float64Array.of(0.1) },
    { name: "i8", dtype: "int8", shape: [1], data: Int8Array.of(1) },
  ]);
  const { entries } = await readSafetensorsHeader(path);
  t.deepEqual(await readTensorAsFloat32(entries.get("bf16")!), Float32Array.of(1, -2));
  t.deepEqual(await readTensorAsFloat32(entries.get("f16")!), Float32Array.of(0.5));
  t.deepEqual(await readTensorAsFloat32(entries.get("f64")!), Float32Array.of(0.1));
  await t.throwsAsync(readTensorAsFloat32(entries.get("i8")!), {
    instanceOf: UserError,
    message: /Cannot load "i8" .*found int8, expected a float dtype/,
  });
});

test("readSafetensorsHeader refuses a missing file and a folder", async (t) => {
  const folder = await makeTempFolder(t);
  t.regex(
    await messageOfBroken(t, join(folder, "none")),
    /Cannot read weights from .*none: found no such file/,
  );
  t.regex(await messageOfBroken(t, folder), /no regular file/);
});

test("readSafetensorsHeader refuses a file of fewer than 8 bytes", async (t) => {
  const path = join(await makeTempFolder(t), "short");
  await writeFile(path, "1234567");
  t.regex(await messageOfBroken(t, path), /found 7 bytes, expected at least the 8 bytes/);
});

test("readSafetensorsHeader refuses a header longer than the file, or than 100 MB", async (t) => {
  const longer = await writeRaw(t, "{}", 0, 3n);
  t.regex(await messageOfBroken(t, longer), /found a header of 3 bytes, expected at most 2/);
  const huge = await writeRaw(t, "{}", 0, 2n ** 63n);
  t.regex(
    await messageOfBroken(t, huge),
    /found a header of 9223372036854775808 bytes, expected at most 2/,
  );
});

test("readSafetensorsHeader refuses a header that is no JSON object in UTF-8", async (t) => {
  t.regex(await messageOfBroken(t, await writeRaw(t, "{nothing", 0)), /a header that is not JSON/);
  t.regex(
    await messageOfBroken(t, await writeRaw(t, "[1]", 0)),
    /with \[1\], expected a JSON object/,
  );
  t.regex(await messageOfBroken(t, await writeRaw(t, "", 0)), /a header that is not JSON/);
  const path = await writeRaw(t, '{"a":1}', 0);
  const bytes = await readFile(path);
  bytes[10] = 0xff;
  await writeFile(path, bytes);
  t.regex(await messageOfBroken(t, path), /a header that is not UTF-8/);
});

test("readSafetensorsHeader lists every faulty tensor in one error", async (t) => {
  const path = await writeRaw(
    t,
    {
      __metadata__: { format: 1 },
      good: f32([1], [0, 4]),
      "not an object": 5,
      "unknown dtype": { dtype: "F8_E5M2", shape: [4], data_offsets: [4, 8] },
      "negative size": f32([-1], [8, 12]),
      "fractional size": f32([0.5], [8, 12]),
      "huge size": f32([2 ** 40, 2 ** 40], [8, 12]),
      "no shape": { dtype: "F32", data_offsets: [8, 12] },
      "negative offset": f32([1], [-4, 0]),
      "backward offsets": f32([1], [12, 8]),
      "one offset": f32([1], [12]),
      "wrong length": f32([2], [12, 16]),
      "beyond the file": f32([1], [16, 20]),
    },
    16,
  );
  const lines = (await messageOfBroken(t, path)).split("\n");
  t.regex(lines[0]!, /found 12 faults$/);
  t.deepEqual(lines.slice(1), [
    '  "__metadata__": found 1 for "format", expected text',
    '  "not an object": found 5, expected an object',
    '  "unknown dtype": found dtype "F8_E5M2", expected one of F32, F64, F16, BF16, I64, I32, I8, U8, BOOL',
    '  "negative size": found shape [-1], expected a list of sizes',
    '  "fractional size": found shape [0.5], expected a list of sizes',
    '  "huge size": found shape [1099511627776,1099511627776], expected a list of sizes',
    '  "no shape": found shape nothing, expected a list of sizes',
    '  "negative offset": found data_offsets [-4,0], expected [begin, end] with 0 <= begin <= end',
    '  "backward offsets": found data_offsets [12,8], expected [begin, end] with 0 <= begin <= end',
    '  "one offset": found data_offsets [12], expected [begin, end] with 0 <= begin <= end',
    '  "wrong length": found 4 bytes of data, expected 8 for F32 [2]',
    '  "beyond the file": found its end at byte 20 of the data, expected at most 16',
  ]);
});

test("readSafetensorsHeader refuses overlaps, gaps and a rest", async (t) => {
  const overlap = await writeRaw(t, { a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, 12);
  t.regex(await messageOfBroken(t, overlap), /"b": found an overlap of 4 bytes with "a"/);
  const gap = await writeRaw(t, { a: f32([1], [4, 8]), b: f32([1], [12, 16]) }, 16);
  const message = await messageOfBroken(t, gap);
  t.regex(message, /"a": found a gap of 4 bytes after the header/);
  t.regex(message, /"b": found a gap of 4 bytes after "a"/);
  const rest = await writeRaw(t, { a: f32([1], [0, 4]) }, 5);
  t.regex(await messageOfBroken(t, rest), /found 1 bytes after "a", expected the end of the file/);
});

test("readSafetensorsHeader refuses two tensors of one name, also where escapes hide it", async (t) => {
  const tensor = JSON.stringify(f32([1], [0, 4]));
  const path = await writeRaw(t, `{"a": ${tensor}, "x": {"a": 1}, "\\u0061" : ${tensor}}`, 4);
  t.regex(await messageOfBroken(t, path), /"a": found more than once, expected once/);
});

testWithShared(
  "readSafetensorsHeader reads the goldens",
  "goldens/batch.safetensors",
  async (t, path) => {
    const { entries } = await readSafetensorsHeader(path);
    t.deepEqual(
      [...entries.values()].map(({ name, dtype, shape }) => [name, dtype, shape]),
      [
        ["attention_mask", "int64", [4, 24]],
        ["input_ids", "int64", [4, 24]],
        ["labels", "int64", [4, 24]],
        ["base_logits", "float32", [4, 24, 256]],
      ],
    );
    const labels = (await readTensorData(entries.get("labels")!)) as BigInt64Array;
    t.is(labels.filter((label) => label !== -100n).length, 13);
  },
);
