import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../../src/core/errors.js";
import { randomStream } from "../../../src/core/random.js";
import { readGguf } from "../../../src/models/gguf/read-gguf.js";
import { ggufBytes, type GgufTensorBytes } from "../../support/gguf-bytes.js";
import { makeTempFolder } from "../../support/temp-folder.js";

const writeGguf = async (t: ExecutionContext, bytes: Uint8Array): Promise<string> => {
  const path = join(await makeTempFolder(t), "model.gguf");
  await writeFile(path, bytes);
  return path;
};

const messageOf = async (t: ExecutionContext, bytes: Uint8Array): Promise<string> =>
  (await t.throwsAsync(readGguf(await writeGguf(t, bytes)), { instanceOf: UserError })).message;

const floats = (name: string, axes: readonly number[]): GgufTensorBytes => ({
  name,
  axes,
  type: 0,
  data: new Uint8Array(4 * axes.reduce((a, b) => a * b, 1)),
});

const sample = {
  metadata: {
    "general.architecture": { text: "llama" },
    "llama.block_count": { uint32: 2 },
    "a.negative": { int32: -7 },
    "a.large": { uint64: 2n ** 60n },
    "a.float": { float32: 0.5 },
    "a.flag": { bool: true },
    "tokenizer.ggml.tokens": { texts: ["a", "Ġb", "ü"] },
    "tokenizer.ggml.scores": { float32s: [0, -1, -2.5] },
    "tokenizer.ggml.token_type": { int32s: [3, 1, 1] },
  },
  tensors: [
    floats("token_embd.weight", [4, 3]),
    { name: "blk.0.attn_q.weight", axes: [32, 2], type: 3, data: new Uint8Array(40) },
  ],
} as const;

for (const version of [2, 3])
  test(`readGguf gives metadata and places of tensors of version ${String(version)}`, async (t) => {
    const bytes = ggufBytes({ ...sample, version });
    const path = await writeGguf(t, bytes);
    const file = await readGguf(path);
    t.is(file.version, version);
    t.deepEqual(Object.fromEntries(file.metadata), {
      "general.architecture": "llama",
      "llama.block_count": 2,
      "a.negative": -7,
      "a.large": 2n ** 60n,
      "a.float": 0.5,
      "a.flag": true,
      "tokenizer.ggml.tokens": ["a", "Ġb", "ü"],
      "tokenizer.ggml.scores": [0, -1, -2.5],
      "tokenizer.ggml.token_type": [3, 1, 1],
    });
    const start = bytes.length - 64 - 64;
    t.deepEqual(
      [...file.tensors.values()],
      [
        {
          name: "token_embd.weight",
          type: { name: "F32", blockSize: 1, blockBytes: 4 },
          shape: [3, 4],
          file: path,
          byteOffset: start,
          byteLength: 48,
        },
        {
          name: "blk.0.attn_q.weight",
          type: { name: "Q4_1", blockSize: 32, blockBytes: 20 },
          shape: [2, 32],
          file: path,
          byteOffset: start + 64,
          byteLength: 40,
        },
      ],
    );
  });

test("readGguf follows general.alignment", async (t) => {
  const bytes = ggufBytes({
    metadata: { "general.alignment": { uint32: 256 } },
    tensors: [floats("a", [1]), floats("b", [1])],
    alignment: 256,
  });
  const { tensors } = await readGguf(await writeGguf(t, bytes));
  t.deepEqual(
    [...tensors.values()].map(({ byteOffset }) => byteOffset),
    [256, 512],
  );
});

test("readGguf refuses what is no GGUF file, other versions and big-endian files", async (t) => {
  t.regex(await messageOf(t, Buffer.from("PK\u0003\u0004 and more")), /begins with "PK/);
  t.regex(await messageOf(t, Buffer.alloc(0)), /begins with ""/);
  t.regex(
    await messageOf(t, ggufBytes({ version: 1 })),
    /found version 1, expected version 2 or 3/,
  );
  t.regex(await messageOf(t, ggufBytes({ version: 3 * 2 ** 24 })), /found a big-endian file/);
});

test("readGguf refuses every prefix of a file", async (t) => {
  const bytes = ggufBytes(sample);
  // Behind the last tensor there is padding, which nobody needs.
  for (let length = 0; length < bytes.length - 24; length += 7) {
    const message = await messageOf(t, bytes.subarray(0, length));
    t.regex(message, /^Cannot read .*found /, String(length));
  }
});

test("readGguf refuses absurd counts before it makes anything of them", async (t) => {
  const change = (offset: number, value: bigint): Buffer => {
    const bytes = ggufBytes(sample);
    bytes.writeBigUInt64LE(value, offset);
    return bytes;
  };
  t.regex(await messageOf(t, change(8, 2n ** 40n)), /found a count of tensors of 1099511627776/);
  t.regex(await messageOf(t, change(8, 2n ** 63n)), /a count of tensors of 9223372036854775808/);
  t.regex(await messageOf(t, change(16, 2n ** 33n)), /found a count of metadata of 8589934592/);
  t.regex(
    await messageOf(t, change(24, 2n ** 31n)),
    /found the length of key 1 of 9 of 2147483648/,
  );
});

test("readGguf says all that is wrong with the tensors at once", async (t) => {
  const message = await messageOf(
    t,
    ggufBytes({
      tensors: [
        { ...floats("unknown", [2]), type: 99 },
        { ...floats("rows", [33]), type: 2 },
        floats("twice", [1]),
        floats("twice", [1]),
        { name: "huge", axes: [2 ** 40, 2 ** 40], type: 0, data: new Uint8Array(4) },
        { name: "long", axes: [2 ** 20], type: 0, data: new Uint8Array(4) },
      ],
    }),
  );
  t.regex(message, /"unknown": found the type 99/);
  t.regex(message, /"rows": found rows of 33 elements, expected a multiple of the 32/);
  t.regex(message, /"twice": found twice/);
  t.regex(message, /"huge": found the shape/);
  t.regex(message, /"long": found its end at byte/);
});

test("readGguf refuses tensors over the same bytes, odd offsets and axes beyond four", async (t) => {
  const bytes = ggufBytes({ tensors: [floats("first", [8]), floats("other", [8])] });
  const offsetOfOther = bytes.indexOf("other") + 5 + 4 + 8 + 4;
  const overlapping = Buffer.from(bytes);
  overlapping.writeBigUInt64LE(0n, offsetOfOther);
  t.regex(await messageOf(t, overlapping), /"other": found an overlap with "first"/);
  const odd = Buffer.from(bytes);
  odd.writeBigUInt64LE(4n, offsetOfOther);
  t.regex(await messageOf(t, odd), /"other": found the offset 4, expected a multiple of 32/);
  t.regex(await messageOf(t, ggufBytes({ tensors: [floats("deep", [1, 1, 1, 1, 1])] })), /5 axes/);
});

test("readGguf refuses unknown value types, keys that come twice and texts that are not UTF-8", async (t) => {
  const bytes = ggufBytes({ metadata: { key: { uint32: 1 }, yek: { text: "text" } } });
  const unknown = Buffer.from(bytes);
  unknown.writeUInt32LE(77, bytes.indexOf("key") + 3);
  t.regex(await messageOf(t, unknown), /found the value type 77 for "key"/);
  const twice = Buffer.from(bytes);
  twice.write("key", bytes.indexOf("yek"), "latin1");
  t.regex(await messageOf(t, twice), /found the key "key" twice/);
  const torn = Buffer.from(bytes);
  torn[bytes.indexOf("text")] = 0xff;
  t.regex(await messageOf(t, torn), /found bytes that are not UTF-8 in "yek"/);
});

test("readGguf either reads a file with changed bytes or refuses it with a message", async (t) => {
  const bytes = ggufBytes(sample);
  const path = await writeGguf(t, bytes);
  const stream = randomStream(20260711, "changed bytes");
  let refused = 0;
  for (let i = 0; i < 400; i++) {
    const changed = Buffer.from(bytes);
    const changes = 1 + stream.integer(3);
    for (let j = 0; j < changes; j++) changed[stream.integer(changed.length)] = stream.integer(256);
    await writeFile(path, changed);
    try {
      const { tensors } = await readGguf(path);
      for (const { byteOffset, byteLength } of tensors.values())
        t.true(byteOffset + byteLength <= changed.length);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      refused++;
    }
  }
  t.true(refused > 100, String(refused));
});
