import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { requireNewFiles, requireRoomFor } from "../../src/core/new-file.js";
import { makeTempFolder } from "../support/temp-folder.js";

test("requireNewFiles refuses every path that is taken, and leaves nothing behind (9.18)", async (t) => {
  const folder = await makeTempFolder(t);
  const path = (name: string): string => join(folder, name);
  await writeFile(path("a"), "mine");
  await mkdir(path("b"));
  await t.notThrowsAsync(
    requireNewFiles([path("new"), path("c/d/new")], { flag: "--out", overwrite: false }),
  );
  const all = [path("a"), path("b"), path("a/c"), path("new")];
  const error = await t.throwsAsync(requireNewFiles(all, { flag: "--out", overwrite: false }), {
    instanceOf: UserError,
  });
  const lines = error.message.split("\n");
  t.is(lines[0], "Cannot write these files: found 3 faults");
  t.regex(lines[1] ?? "", /a: found a file of that name, expected none$/);
  t.regex(lines[2] ?? "", /b: found a folder, expected a file or nothing$/);
  t.regex(lines[3] ?? "", /a\/c: ENOTDIR|to be no folder/);
  t.regex(error.hint ?? "", /another --out, or replace what is there with --overwrite/);
  t.deepEqual((await readdir(folder)).sort(), ["a", "b"]);
});

test("requireNewFiles lets --overwrite replace files, but no folder and no device (9.18)", async (t) => {
  const folder = await makeTempFolder(t);
  await writeFile(join(folder, "a"), "mine");
  const overwrite = { flag: "--out", overwrite: true };
  await t.notThrowsAsync(requireNewFiles([join(folder, "a")], overwrite));
  await t.throwsAsync(requireNewFiles([folder], overwrite), { message: /found a folder/ });
  await t.throwsAsync(requireNewFiles(["/dev/null"], overwrite), { message: /found a device/ });
});

test("a folder that cannot be written is found before anything is written (9.16)", async (t) => {
  const folder = await makeTempFolder(t);
  const closed = join(folder, "closed");
  await mkdir(closed);
  await chmod(closed, 0o555);
  // Where the tests run as root, only a file system that is read-only refuses.
  const refusing = process.getuid?.() === 0 ? "/proc" : closed;
  for (const path of [join(refusing, "new"), join(refusing, "a", "b", "new")]) {
    await t.throwsAsync(requireNewFiles([path], { flag: "--out", overwrite: true }), {
      instanceOf: UserError,
      message: /^Cannot write .*new: /,
    });
    await t.throwsAsync(requireRoomFor(path, "--out"), { instanceOf: UserError });
  }
});
