import { writeSync } from "node:fs";
import { open, readFile, rm, stat, statfs, writeFile, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Dispatcher, Response } from "undici";
import { UserError, messageOf } from "./errors.js";
import { makeFolder } from "./folder.js";
import { isJsonObject, tryParseJson } from "./json.js";
import {
  describeNetworkFault,
  openAgent,
  PassingFault,
  proxyHint,
  sendRequest,
  withAttempts,
  type Environment,
  type RequestOptions,
  type StatusHints,
} from "./request.js";

export type { Environment } from "./request.js";

/** Where a file is while it comes: a hidden one beside its place. */
export const partPath = (path: string): string => join(dirname(path), `.${basename(path)}.part`);

/** What is noted beside a part, to know on the next start whether it belongs to what the server then has. */
const notePath = (path: string): string => `${partPath(path)}.json`;

/** What to do about faults that depend on what is fetched, and for what. */
export interface DownloadAdvice {
  readonly hints: StatusHints;
  /** Where the disk is full. */
  readonly room: string;
  /** Where the disk cannot be written. */
  readonly writing: string;
}

const dataAdvice: DownloadAdvice = {
  hints: {
    401: "Fetch it by hand with your account, and put it in its place: hira data list NAME says where",
    403: "Fetch it by hand, and put it in its place: hira data list NAME says where",
    404: "The publisher has moved it: fetch it by hand, and put it in its place (hira data list NAME), or name another server with --mirror",
  },
  room: "Make room, or choose another data folder with --data_dir",
  writing: "Make room, or choose a --data_dir that can be written",
};

export interface DownloadOptions {
  /** Of a data set's file where it is left out. */
  readonly advice?: DownloadAdvice;
  /** Sent along, as far as the address itself is asked: a redirect to another host does not get an authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly refusal?: RequestOptions["refusal"];
  readonly environment?: Environment;
  /** Of the file, where they are known beforehand. */
  readonly bytes?: number | undefined;
  /** Whether a hash will tell if the parts belong together: then a part goes on even where the server has no tag for its files. */
  readonly isVerified?: boolean;
  /** Starts without news after which it is given up. */
  readonly attempts?: number;
  /** Milliseconds before the second attempt; before each further one, twice as many. */
  readonly waitMs?: number;
  /** Milliseconds in which something has to arrive. */
  readonly silenceMs?: number;
  /** `bytes` of `total` are there; undefined where the server does not say. */
  readonly onProgress?: (bytes: number, total: number | undefined) => void;
  /** Says why it begins again, and after how long. */
  readonly onRetry?: (why: string, waitMs: number) => void;
  /** Bytes that the folder's file system has room for. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

export interface Downloaded {
  /** Bytes that were there from an earlier start. */
  readonly resumedAt: number;
  readonly bytes: number;
}

interface Part {
  readonly bytes: number;
  /** The server's tag or date of the file, if it has one. */
  readonly validator: string | undefined;
}

/** What an earlier start has left of this very address; nothing where it is another's, or no longer can be told. */
const readPart = async (path: string, url: string, isVerified: boolean): Promise<Part> => {
  const nothing: Part = { bytes: 0, validator: undefined };
  const found = await stat(partPath(path)).catch(() => undefined);
  const text = await readFile(notePath(path), "utf8").catch(() => "");
  const parsed = tryParseJson(text);
  const note = "value" in parsed && isJsonObject(parsed.value) ? parsed.value : undefined;
  if (!found || note?.url !== url) return nothing;
  const validator = typeof note.validator === "string" ? note.validator : undefined;
  if (validator === undefined && !isVerified) return nothing;
  return { bytes: found.size, validator };
};

/** A strong tag, else the date; a weak tag may stay the same for other bytes. */
const validatorOf = ({ headers }: Response): string | undefined => {
  const tag = headers.get("etag");
  return tag !== null && !tag.startsWith("W/") ? tag : (headers.get("last-modified") ?? undefined);
};

/** `bytes 5-9/10`: from 5, of 10 in all. */
const rangeOf = ({ headers }: Response): { from?: number; total?: number } => {
  const [, from, total] =
    /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
  return {
    ...(from !== undefined && { from: Number(from) }),
    ...(total !== undefined && total !== "*" && { total: Number(total) }),
  };
};

const requireRoom = async (
  path: string,
  bytes: number,
  { freeBytes, advice }: Pick<AttemptOptions, "freeBytes" | "advice">,
): Promise<void> => {
  const free = await freeBytes(dirname(path)).catch(() => Infinity);
  if (bytes <= free) return;
  const mib = (count: number): string => `${String(Math.ceil(count / 2 ** 20))} MiB`;
  throw new UserError(
    `Cannot fetch ${path}: found ${mib(free)} free on its disk, expected room for ${mib(bytes)} more`,
    advice.room,
  );
};

const freeBytesOf = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
};

/** What the system says against writing the part. What has come before stays. */
const writeFault = (error: unknown, path: string, { writing }: DownloadAdvice): unknown =>
  error instanceof Error && "syscall" in error
    ? new UserError(
        `Cannot write ${partPath(path)}: ${messageOf(error)}`,
        `${writing}; what has come so far stays, and the same command goes on behind it`,
      )
    : error;

/**
 * Gets one file into its part (see partPath), which it leaves whole; the caller looks at it and renames it.
 *
 * What an earlier start has left is gone on with where the server's tag says that the file is still the same. A connection that
 * is cut is taken up again, as often as anything arrives and `attempts` times without; redirects are followed, but not from https to http.
 * @throws {UserError} where the server has no such file or cannot be reached, or where the disk cannot be written
 */
export const download = async (
  url: string,
  path: string,
  {
    environment = process.env,
    attempts = 5,
    waitMs = 1000,
    silenceMs = 60_000,
    freeBytes = freeBytesOf,
    isVerified = false,
    advice = dataAdvice,
    headers = {},
    refusal,
    bytes,
    onProgress,
    onRetry,
  }: DownloadOptions = {},
): Promise<Downloaded> => {
  const agent = openAgent(environment, silenceMs);
  let resumedAt: number | undefined;
  try {
    await makeFolder(dirname(path)).catch((error: unknown) => {
      throw writeFault(error, path, advice);
    });
    const got = await withAttempts(
      { attempts, waitMs, onRetry },
      async (hasNews) => {
        const part = await readPart(path, url, isVerified);
        resumedAt ??= part.bytes;
        return attempt(url, path, part, {
          ...{ agent, freeBytes, advice, headers, refusal },
          expected: bytes,
          onProgress: (done, total) => {
            if (done > part.bytes) hasNews();
            onProgress?.(done, total);
          },
          onRestart: () => {
            resumedAt = 0;
          },
        });
      },
      (why) =>
        new UserError(
          `Cannot fetch ${url}: ${why}`,
          `${proxyHint}. What has come so far stays, and the same command goes on behind it`,
        ),
    );
    return { resumedAt: resumedAt ?? 0, bytes: got };
  } finally {
    await agent.destroy().catch(() => undefined);
  }
};

const writeWhole = (
  descriptor: number,
  chunk: Uint8Array,
  { path, advice }: { readonly path: string; readonly advice: DownloadAdvice },
): void => {
  try {
    for (let at = 0; at < chunk.byteLength;) at += writeSync(descriptor, chunk, at);
  } catch (error) {
    throw writeFault(error, path, advice);
  }
};

interface AttemptOptions {
  readonly agent: Dispatcher;
  readonly expected: number | undefined;
  readonly freeBytes: NonNullable<DownloadOptions["freeBytes"]>;
  readonly advice: DownloadAdvice;
  readonly headers: NonNullable<DownloadOptions["headers"]>;
  readonly refusal: DownloadOptions["refusal"];
  readonly onProgress: NonNullable<DownloadOptions["onProgress"]>;
  readonly onRestart: () => void;
}

/** One request and what comes of it. @returns the file's bytes */
const attempt = async (
  url: string,
  path: string,
  part: Part,
  options: AttemptOptions,
): Promise<number> => {
  const { agent, expected, advice, headers, refusal, onProgress, onRestart } = options;
  const response = await sendRequest(url, {
    ...{ agent, refusal, hints: advice.hints },
    headers: {
      ...headers,
      // A part of a packed stream is no part of the file.
      "accept-encoding": "identity",
      ...(part.bytes > 0 && { range: `bytes=${String(part.bytes)}-` }),
      ...(part.bytes > 0 && part.validator !== undefined && { "if-range": part.validator }),
    },
  });
  const range = rangeOf(response);
  if (response.status === 416) {
    await response.body?.cancel();
    if (range.total === part.bytes) return part.bytes;
    // The part is longer than what the server has.
    await rm(partPath(path), { force: true });
    await rm(notePath(path), { force: true });
    throw new PassingFault("the file has changed on the server");
  }
  const goesOn = response.status === 206 && range.from === part.bytes;
  if (response.status === 206 && !goesOn) {
    await response.body?.cancel();
    await rm(notePath(path), { force: true });
    throw new PassingFault("the server gave another part of the file than it was asked for");
  }
  if (!goesOn && part.bytes > 0) onRestart();
  const start = goesOn ? part.bytes : 0;
  const length = Number(response.headers.get("content-length") ?? NaN);
  const total = range.total ?? (Number.isFinite(length) ? start + length : expected);
  if (total !== undefined) await requireRoom(path, total - start, options);
  let file: FileHandle;
  try {
    if (!goesOn) {
      const note = JSON.stringify({ url, validator: validatorOf(response) });
      await rm(notePath(path), { force: true });
      await writeFile(partPath(path), "");
      await writeFile(notePath(path), note);
    }
    file = await open(partPath(path), "a");
  } catch (error) {
    await response.body?.cancel();
    throw writeFault(error, path, advice);
  }
  let done = start;
  try {
    onProgress(done, total);
    for await (const chunk of response.body ?? []) {
      // At once: what a stream has in its queue is lost when its connection is cut.
      writeWhole(file.fd, chunk as Uint8Array, { path, advice });
      done += (chunk as Uint8Array).byteLength;
      onProgress(done, total);
    }
    await file.sync().catch(() => undefined);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new PassingFault(describeNetworkFault(error));
  } finally {
    await file.close();
  }
  if (total !== undefined && range.total !== undefined && done < total)
    throw new PassingFault("the connection was cut");
  return done;
};

/** Takes away what a download has left beside `path`. */
export const removePart = async (path: string): Promise<void> => {
  await rm(partPath(path), { force: true });
  await rm(notePath(path), { force: true });
};
