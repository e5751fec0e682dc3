import { readFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import test from "ava";
import { datasetNames } from "../../src/datasets/registry.js";
import type { KnownHash } from "../../src/datasets/source.js";
import { sourceNames, sourceOf } from "../../src/datasets/sources.js";
import { testWithShared } from "../support/shared.js";

const hashes = (): readonly { readonly path: string; readonly hash?: KnownHash }[] =>
  sourceNames.flatMap((name) =>
    sourceOf(name).files.flatMap((file) => [file, ...(file.members ?? [])]),
  );

test("every set that --dataset names has a source, but the group of eight", (t) => {
  t.deepEqual(
    datasetNames.filter((name) => !(sourceNames as readonly string[]).includes(name)),
    ["common_all"],
  );
});

test("addresses name a revision where the publisher has such, paths are under the root, hashes are whole", (t) => {
  for (const name of sourceNames)
    for (const { url, path } of sourceOf(name).files) {
      if (/githubusercontent|huggingface/.test(url)) t.regex(url, /\/[0-9a-f]{40}\//);
      t.regex(path, /^[\w-]+(?:\/[\w.-]+)+$/);
    }
  for (const { path, hash } of hashes()) {
    if (hash === undefined) continue;
    t.regex(hash.sha256 ?? hash.gitBlob ?? "", hash.sha256 ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/);
    t.true(hash.gitBlob === undefined || hash.basis === "tree", path);
  }
  const paths = hashes().map(({ path }) => path);
  t.is(new Set(paths).size, paths.length);
});

test("sets that may not be used commercially say so in so many words", (t) => {
  for (const name of ["dailydialog", "samsum"] as const)
    t.regex(sourceOf(name).licence.forbids ?? "", /^No commercial use\b/);
  t.regex(sourceOf("samsum").licence.forbids ?? "", /no changed copies may be given on/);
});

// Files that are the publisher's to the byte, so says their git blob.
testWithShared("hashes are those of the files at hand", "data/data_file", async (t, shared) => {
  const found = new Map<string, string>();
  let compared = 0;
  for (const { path, hash } of hashes()) {
    if (hash?.sha256 === undefined) continue;
    const bytes = await readFile(join(shared, path)).catch(() =>
      readFile(join(shared, `${path}.gz`)).then(gunzipSync, () => undefined),
    );
    // Of these the folder has another form.
    if (bytes === undefined || /meta_math|dailydialog/.test(path)) continue;
    compared++;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    if (sha256 !== hash.sha256) found.set(path, sha256);
  }
  t.deepEqual([...found], []);
  t.true(compared >= 20, String(compared));
});
