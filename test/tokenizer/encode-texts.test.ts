import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { encodeTexts } from "../../src/tokenizer/encode-texts.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { tokenCacheFolder } from "../../src/tokenizer/token-cache.js";
import { makeTempFolder } from "../support/temp-folder.js";

const folder = fileURLToPath(new URL("../fixtures/tokenizer/llama3-style", import.meta.url));
const texts = Array.from(
  { length: 700 },
  (_, i) => `text number ${String(i)} ${"word ".repeat(i % 7)}`,
);
texts[3] = "";

test("encodeTexts gives the same ids from the main thread, from workers and from the cache", async (t) => {
  const tokenizer = await loadTokenizer(folder);
  const expected = texts.map((text) => tokenizer.encode(text));
  const cacheFolder = await makeTempFolder(t);
  const large = { largeFrom: 100, workers: 2, cacheFolder };
  const progress: number[] = [];
  for (const [from, options] of [
    ["main thread", {}],
    ["workers", { ...large, onProgress: (done: number) => progress.push(done) }],
    ["cache", large],
  ] as const) {
    const result = await encodeTexts(tokenizer, texts, options);
    t.is(result.from, from);
    t.is(result.table.length, texts.length);
    t.deepEqual(
      texts.map((_, i) => [...result.table.at(i)]),
      expected,
    );
  }
  t.is(progress.at(-1), texts.length);
});

test("encodeTexts ignores a damaged cache file and writes it anew", async (t) => {
  const tokenizer = await loadTokenizer(folder);
  const cacheFolder = await makeTempFolder(t);
  const large = { largeFrom: 100, workers: 1, cacheFolder };
  await encodeTexts(tokenizer, texts, large);
  const [name = ""] = await readdir(cacheFolder);
  const path = join(cacheFolder, name);
  const whole = await readFile(path);
  const flipped = Buffer.from(whole);
  flipped[100] = (flipped[100] ?? 0) ^ 1;
  for (const damaged of [whole.subarray(0, 50), whole.subarray(0, -4), flipped, Buffer.alloc(0)]) {
    await writeFile(path, damaged);
    t.is((await encodeTexts(tokenizer, texts, large)).from, "workers");
    t.deepEqual(await readFile(path), whole);
  }
  t.deepEqual(await readdir(cacheFolder), [name]);
});

test("encodeTexts keeps other texts under another name, and goes on where the cache cannot be written", async (t) => {
  const tokenizer = await loadTokenizer(folder);
  const cacheFolder = await makeTempFolder(t);
  const large = { largeFrom: 100, workers: 1, cacheFolder };
  await encodeTexts(tokenizer, texts, large);
  await encodeTexts(tokenizer, [...texts, "one more"], large);
  t.is((await readdir(cacheFolder)).length, 2);
  const file = join(cacheFolder, "not-a-folder");
  await writeFile(file, "");
  t.is((await encodeTexts(tokenizer, texts, { ...large, cacheFolder: file })).from, "workers");
});

test("encodeTexts stops when its signal is aborted", async (t) => {
  const tokenizer = await loadTokenizer(folder);
  const stop = new AbortController();
  await t.throwsAsync(
    encodeTexts(tokenizer, texts, {
      largeFrom: 100,
      workers: 2,
      signal: stop.signal,
      onProgress: () => {
        stop.abort(new Error("enough"));
      },
    }),
    { message: "enough" },
  );
  await t.throwsAsync(encodeTexts(tokenizer, texts, { signal: stop.signal }), {
    message: "enough",
  });
});

test("tokenCacheFolder follows HIRA_CACHE_DIR, then XDG_CACHE_HOME, then the home folder", (t) => {
  t.is(tokenCacheFolder({ HIRA_CACHE_DIR: "/a", XDG_CACHE_HOME: "/b" }), join("/a", "tokens"));
  t.is(tokenCacheFolder({ XDG_CACHE_HOME: "/b" }), join("/b", "hira", "tokens"));
  t.regex(tokenCacheFolder({}), /\.cache[\\/]hira[\\/]tokens$/);
});
