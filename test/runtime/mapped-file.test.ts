import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { MappedFile } from "../../src/runtime/mapped-file.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { makeTempFolder } from "../support/temp-folder.js";

const numbers = Float32Array.from({ length: 5000 }, (_, i) => i / 7);

/** A file with `pad` bytes before the numbers. */
const makeFile = async (t: ExecutionContext, pad = 0): Promise<string> => {
  const path = join(await makeTempFolder(t), "numbers");
  await writeFile(path, Buffer.concat([Buffer.alloc(pad), new Uint8Array(numbers.buffer)]));
  return path;
};

for (const copy of [false, true]) {
  const how = copy ? "an array, where there is no mmap," : "a mapping";
  test(`MappedFile.open gives the bytes of a file through ${how}`, async (t) => {
    const file = MappedFile.open(await makeFile(t, 4), { copy });
    t.is(file.byteLength, 20004);
    t.is(file.mapped, !copy && process.platform !== "win32");
    t.deepEqual(Tensor.fromMapped(file, 4, "float32", [50, 100]).data, numbers);
    t.deepEqual(
      Tensor.fromMapped(file, 404, "float32", [3]).view(1, [2]).data,
      numbers.slice(101, 103),
    );
  });
}

test("Tensor.fromMapped reads from an odd offset", async (t) => {
  const file = MappedFile.open(await makeFile(t, 9));
  const tensor = Tensor.fromMapped(file, 9, "float32", [5000]);
  t.deepEqual(tensor.data, numbers);
  t.deepEqual(tensor.view(10, [2]).data, numbers.slice(10, 12));
});

test("Tensor.fromMapped refuses what lies outside the file", async (t) => {
  const file = MappedFile.open(await makeFile(t));
  for (const offset of [4, -4, 0.5, NaN])
    t.throws(() => Tensor.fromMapped(file, offset, "float32", [5000]), {
      instanceOf: RangeError,
      message: /within the file's 20000/,
    });
});

test("a mapping stays as long as an array over it, and goes afterwards", async (t) => {
  const path = await makeFile(t);
  const { readFile } = await import("node:fs/promises");
  const mapped = async (): Promise<boolean> =>
    (await readFile("/proc/self/maps", "utf8")).includes(path);
  const collect = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  if (process.platform !== "linux") return t.pass("reads /proc");
  let data: unknown = Tensor.fromMapped(MappedFile.open(path), 0, "float32", [5000]).data;
  await collect();
  t.true(await mapped());
  t.deepEqual(data, numbers);
  data = undefined;
  await collect();
  t.false(await mapped());
  return undefined;
});

test("a write to a mapped tensor stays out of the file", async (t) => {
  const path = await makeFile(t);
  Tensor.fromMapped(MappedFile.open(path), 0, "float32", [5000]).data[0] = 9;
  t.is(Tensor.fromMapped(MappedFile.open(path), 0, "float32", [1]).data[0], 0);
});

test("MappedFile.open refuses missing and empty files", async (t) => {
  const path = join(await makeTempFolder(t), "empty");
  t.throws(() => MappedFile.open(path), { code: "ENOENT" });
  await writeFile(path, "");
  t.throws(() => MappedFile.open(path), { instanceOf: RangeError, message: /found 0 bytes/ });
});

test("MappedFile.scratch gives zeros that keep what is written, in a file without a name", async (t) => {
  const folder = await makeTempFolder(t);
  const file = MappedFile.scratch(folder, 4 * 5000);
  t.deepEqual(await readdir(folder), []);
  const tensor = Tensor.fromMapped(file, 0, "float32", [5000]);
  t.deepEqual(tensor.data, new Float32Array(5000));
  (tensor.data as Float32Array).set(numbers);
  t.deepEqual(Tensor.fromMapped(file, 4 * 100, "float32", [2]).data, numbers.slice(100, 102));
});

test("MappedFile.scratch says of a folder that cannot hold it why", async (t) => {
  const folder = join(await makeTempFolder(t), "missing");
  t.throws(() => MappedFile.scratch(folder, 8), {
    instanceOf: UserError,
    message: /Cannot map 8 bytes in .*missing: found no such file or folder/,
  });
});
