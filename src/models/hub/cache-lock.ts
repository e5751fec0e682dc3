import { readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isJsonObject, tryParseJson } from "../../core/json.js";
import { makeFolder } from "../../core/folder.js";

/** A holder says this often that it lives; one that has not said so for long is taken for dead, wherever it ran. */
const beatMs = 5_000;
const deadMs = 60_000;

/** Locks of this process: a number in a file may be that of a process before this one. */
const held = new Set<string>();

const isAlive = (pid: number): boolean => {
  try {
    // Signal 0 is never delivered; it only asks whether there is such a process.
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
};

/** Whether whoever wrote a lock still holds it, and its process. */
const holderOf = async (path: string): Promise<{ readonly pid: unknown } | undefined> => {
  const [text, stats] = await Promise.all([
    readFile(path, "utf8").catch(() => ""),
    stat(path).catch(() => undefined),
  ]);
  if (!stats) return undefined;
  const parsed = tryParseJson(text);
  const owner = "value" in parsed && isJsonObject(parsed.value) ? parsed.value : {};
  const { host, pid } = owner;
  if (Date.now() - stats.mtimeMs > deadMs) return undefined;
  if (host !== hostname() || typeof pid !== "number") return { pid };
  if (pid === process.pid) return held.has(path) ? { pid } : undefined;
  return isAlive(pid) ? { pid } : undefined;
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
      await writeFile(path, JSON.stringify({ host: hostname(), pid: process.pid }), { flag: "wx" });
      break;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    const holder = await holderOf(path);
    if (!holder) {
      await rm(path, { force: true });
      continue;
    }
    if (!told) onWait(typeof holder.pid === "number" ? `process ${String(holder.pid)}` : "another");
    told = true;
    await sleep(200);
  }
  held.add(path);
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, beatMs).unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    held.delete(path);
    await rm(path, { force: true });
  }
};
