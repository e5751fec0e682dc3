import { readdir, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { withCacheLock } from "../../../src/models/hub/cache-lock.js";
import { makeTempFolder } from "../../support/temp-folder.js";

test("one at a time holds the lock, also where it is left of somebody who is gone", async (t) => {
  const folder = await makeTempFolder(t);
  const path = join(folder, "a.hira");
  const left: Readonly<Record<string, object>> = {
    "a process that has ended": { host: hostname(), pid: 2 ** 22 + 1, id: "x" },
    "this process's number, before it": { host: hostname(), pid: process.pid, id: "x" },
  };
  for (const [name, owner] of Object.entries(left)) {
    await writeFile(path, JSON.stringify(owner));
    let [inside, most, done] = [0, 0, 0];
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
      done++;
    };
    await Promise.all(Array.from({ length: 6 }, () => withCacheLock(path, () => undefined, work)));
    t.deepEqual([most, done], [1, 6], name);
  }
  // Of another machine only its silence tells.
  await writeFile(path, JSON.stringify({ host: "elsewhere", pid: 1, id: "x" }));
  const told: string[] = [];
  const waiting = withCacheLock(
    path,
    (holder) => told.push(holder),
    () => Promise.resolve(1),
  );
  while (told.length === 0) await sleep(10);
  t.deepEqual(told, ["process 1"]);
  const longAgo = new Date(Date.now() - 120_000);
  await utimes(path, longAgo, longAgo);
  t.is(await waiting, 1);
  await t.throwsAsync(
    withCacheLock(
      path,
      () => undefined,
      () => Promise.reject(new Error("work")),
    ),
    { message: "work" },
  );
  t.deepEqual(await readdir(folder), []);
});
