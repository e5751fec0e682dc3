import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { openJsonlAppender, writeJsonl } from "../../src/report/jsonl.js";
import type { StepMetrics } from "../../src/report/metrics.js";
import { openMetrics, readMetrics } from "../../src/report/metrics.js";

const makeFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-jsonl-"));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
};

const metricsOf = (step: number): StepMetrics => ({
  step,
  loss: 1 / step,
  gradNorm: 0.5,
  lr: 1e-5,
  tokens: 100,
  paddedTokens: 128,
  stepMs: 12.5,
});

test("openMetrics writes one row a step under the names of the file", async (t) => {
  const path = join(await makeFolder(t), "metrics.jsonl");
  const metrics = await openMetrics(path);
  await metrics.append(metricsOf(1));
  t.is(
    await readFile(path, "utf8"),
    '{"step":1,"loss":1,"grad_norm":0.5,"lr":0.00001,"tokens":100,"padded_tokens":128,"step_ms":12.5}\n',
  );
  await metrics.append({ ...metricsOf(2), loss: NaN });
  await metrics.close();
  t.deepEqual(await readMetrics(path), [metricsOf(1), { ...metricsOf(2), loss: NaN }]);
});

test("append keeps the order of its calls, awaited or not", async (t) => {
  const path = join(await makeFolder(t), "rows.jsonl");
  const file = await openJsonlAppender(path);
  const appended = Array.from({ length: 200 }, (_, i) => file.append({ i }));
  await file.close();
  await Promise.all(appended);
  const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
  t.deepEqual(
    lines,
    Array.from({ length: 200 }, (_, i) => `{"i":${String(i)}}`),
  );
});

test("openMetrics goes on after a kill: the torn line and the later steps are dropped", async (t) => {
  const path = join(await makeFolder(t), "metrics.jsonl");
  const first = await openMetrics(path);
  for (const step of [1, 2, 3]) await first.append(metricsOf(step));
  await first.close();
  await appendFile(path, '{"step":4,"lo');
  t.is((await readMetrics(path)).length, 3);

  const second = await openMetrics(path, { afterStep: 2 });
  await second.append(metricsOf(3));
  await second.close();
  t.deepEqual(await readMetrics(path), [1, 2, 3].map(metricsOf));
});

test("openMetrics of a new run starts an empty file", async (t) => {
  const path = join(await makeFolder(t), "metrics.jsonl");
  await writeFile(path, '{"step":1}\n');
  await (await openMetrics(path)).close();
  t.is(await readFile(path, "utf8"), "");
});

test("readMetrics and openMetrics name a broken line in the middle", async (t) => {
  const path = join(await makeFolder(t), "metrics.jsonl");
  await writeFile(path, '{"step":1\n{"step":2}\n');
  await t.throwsAsync(readMetrics(path), { instanceOf: UserError, message: /line 1, column 10/ });
  await t.throwsAsync(openMetrics(path), { instanceOf: UserError, message: /line 1, column 10/ });
  await writeFile(path, "[1]\n");
  await t.throwsAsync(readMetrics(path), { message: /line 1: found an array, expected an object/ });
});

test("openMetrics refuses a folder that is not there", async (t) => {
  const path = join(await makeFolder(t), "gone", "metrics.jsonl");
  await t.throwsAsync(openMetrics(path), {
    instanceOf: UserError,
    message: /Cannot write .*found no such file or folder/,
  });
});

test("writeJsonl writes all rows or leaves the old file", async (t) => {
  const folder = await makeFolder(t);
  const path = join(folder, "rows.jsonl");
  await writeJsonl(path, [{ text: "é\u2028" }, { tokens: [1, 2] }]);
  const whole = '{"text":"é\u2028"}\n{"tokens":[1,2]}\n';
  t.is(await readFile(path, "utf8"), whole);
  const failing = (async function* () {
    yield { a: 1 };
    throw new Error("decoding failed");
  })();
  await t.throwsAsync(writeJsonl(path, failing), { message: "decoding failed" });
  t.is(await readFile(path, "utf8"), whole);
  t.deepEqual(await readdir(folder), ["rows.jsonl"]);
});
