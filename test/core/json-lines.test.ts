import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { readJsonLines } from "../../src/core/json-lines.js";

const fileOf = async (t: ExecutionContext, content: string | Uint8Array): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-json-lines-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, "rows.jsonl");
  await writeFile(path, content);
  return path;
};

const readAll = async (path: string, onTorn?: (line: number) => void): Promise<unknown[]> => {
  const values: unknown[] = [];
  for await (const { line, value } of readJsonLines(path, onTorn)) values.push([line, value]);
  return values;
};

test("readJsonLines counts blank lines and passes them over", async (t) => {
  const path = await fileOf(t, '\ufeff{"a":1}\r\n\n  \nnull\n[2]');
  t.deepEqual(await readAll(path), [
    [1, { a: 1 }],
    [4, null],
    [5, [2]],
  ]);
});

test("readJsonLines keeps characters whole across chunks and does not split at U+2028", async (t) => {
  const text = "é\u2028😀".repeat(400_000);
  const path = await fileOf(t, `${JSON.stringify({ text })}\n${JSON.stringify({ text })}\n`);
  t.deepEqual(await readAll(path), [
    [1, { text }],
    [2, { text }],
  ]);
});

test("readJsonLines names the broken line, and a file that is not there", async (t) => {
  const path = await fileOf(t, '{}\n\n{"a": }\n{}\n');
  await t.throwsAsync(readAll(path), { instanceOf: UserError, message: /line 3, column 7/ });
  await t.throwsAsync(readAll(`${path}.gone`), {
    instanceOf: UserError,
    message: /Cannot read .*found no such file/,
  });
  const bytes = await fileOf(t, Buffer.from([0x22, 0xff, 0x22, 0x0a]));
  await t.throwsAsync(readAll(bytes), {
    instanceOf: UserError,
    message: /line 1: found bytes that are not UTF-8/,
  });
});

test("readJsonLines reports a torn last line, or throws where nobody asks for it", async (t) => {
  const whole = '{"a":1}\n{"é":2}\n';
  for (let cut = 9; cut < Buffer.byteLength(whole) - 1; cut++) {
    const path = await fileOf(t, Buffer.from(whole).subarray(0, cut));
    const torn: number[] = [];
    t.deepEqual(await readAll(path, (line) => torn.push(line)), [[1, { a: 1 }]]);
    t.deepEqual(torn, [2]);
    await t.throwsAsync(readAll(path), { instanceOf: UserError, message: /line 2/ });
  }
  // A broken line in the middle is no torn one.
  const path = await fileOf(t, '{"a":\n{}\n');
  await t.throwsAsync(
    readAll(path, () => t.fail()),
    { message: /line 1/ },
  );
});
