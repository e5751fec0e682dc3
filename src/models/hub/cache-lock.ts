import { randomUUID } from "node:crypto";
import { readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isProcessAlive } from "../../core/process-alive.js";
import { isJsonObject, tryParseJson } from "../../core/json.js";
import { makeFolder } from "../../core/folder.js";

/** A holder says this often that it lives; one that has not said so for long is taken for dead, wherever it ran. */
const beatMs = 5_000;
const deadMs = 60_000;

/** This process: a number in a file may be that of another one before it. */
const me = { host: hostname(), pid: process.pid, id: randomUUID() };

/** Whoever holds a lock; "gone" where a lock is left of somebody who no longer lives, "nobody" where there is none. */
const holderOf = async (path: string): Promise<{ readonly pid: unknown } | "gone" | "nobody"> => {
  const [text, stats] = await Promise.all([
    readFile(path, "utf8").catch(() => ""),
    stat(path).catch(() => undefined),
  ]);
  if (!stats) return "nobody";
  if (Date.now() - stats.mtimeMs > deadMs) return "gone";
  const parsed = tryParseJson(text);
  const { host, pid, id } = "value" in parsed && isJsonObject(parsed.value) ? parsed.value : {};
  if (host !== me.host || typeof pid !== "number") return { pid };
  if (pid === me.pid) return id === me.id ? { pid } : "gone";
  return isProcessAlive(pid) ? { pid } : "gone";
};

const isTaken = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "EEXIST";

/**
 * Takes away a lock that is left of somebody. Under a mark, and looked at once more: of two that find it, the second would take away the
 * first one's new lock.
 */
const removeGone = async (path: string): Promise<void> => {
  const mark = `${path}.gone`;
  try {
    await writeFile(mark, "", { flag: "wx" });
  } catch (error) {
    if (!isTaken(error)) throw error;
    const stats = await stat(mark).catch(() => undefined);
    if (stats && Date.now() - stats.mtimeMs > deadMs) await rm(mark, { force: true });
    return;
  }
  try {
    if ((await holderOf(path)) === "gone") await rm(path, { force: true });
  } finally {
    await rm(mark, { force: true });
  }
};

/**
 * Does `work` while no other hira does the same at `path`, a file that is there meanwhile; others wait.
 *
 * @param onWait is told once whom it waits for
 */
export const withCacheLock = async <T>(
  path: string,
  onWait: (holder: string) => void,
  work: () => Promise<T>,
): Promise<T> => {
  await makeFolder(dirname(path));
  let told = false;
  for (;;) {
    try {
      await writeFile(path, JSON.stringify(me), { flag: "wx" });
      break;
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
    const holder = await holderOf(path);
    if (holder === "gone") await removeGone(path);
    if (typeof holder === "object") {
      if (!told)
        onWait(typeof holder.pid === "number" ? `process ${String(holder.pid)}` : "another");
      told = true;
      await sleep(200);
    }
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, beatMs).unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(path, { force: true });
  }
};
