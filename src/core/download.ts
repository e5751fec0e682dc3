import {
  closeSync,
  fsyncSync,
  openSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Writable } from "node:stream";
import type { Dispatcher, Response } from "undici";
import { UserError, messageOf } from "./errors.js";
import { makeFolder } from "./folder.js";
import { isJsonObject, tryParseJson } from "./json.js";
import {
  openAgent,
  PassingFault,
  proxyHint,
  streamRequest,
  withAttempts,
  type Environment,
  type RequestOptions,
  type StatusHints,
} from "./request.js";

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

/** What a download may send, what is known of the file, and what its messages say. */
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
  readonly freeBytes?: (folder: string) => number;
}

/** What a finished download has brought. */
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

const requireRoom = (
  path: string,
  bytes: number,
  { freeBytes, advice }: Pick<AttemptOptions, "freeBytes" | "advice">,
): void => {
  const free = freeBytes(dirname(path));
  if (bytes <= free) return;
  const mib = (count: number): string => `${String(Math.ceil(count / 2 ** 20))} MiB`;
  throw new UserError(
    `Cannot fetch ${path}: found ${mib(free)} free on its disk, expected room for ${mib(bytes)} more`,
    advice.room,
  );
};

const freeBytesOf = (folder: string): number => {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    // Not every file system says.
    return Infinity;
  }
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

/** Where the bytes of an answer go. */
interface Sink {
  /** Bytes that are there, those of earlier answers among them. */
  readonly done: number;
  readonly writable: Writable;
}

/** An open part, into which every piece is written at once. */
const openSink = (
  path: string,
  {
    start,
    note,
    advice,
    onBytes,
  }: {
    readonly start: number;
    /** What to note of a part that begins anew. */
    readonly note: string | undefined;
    readonly advice: DownloadAdvice;
    readonly onBytes: (done: number) => void;
  },
): Sink => {
  let done = start;
  let descriptor: number;
  try {
    if (note !== undefined) {
      rmSync(notePath(path), { force: true });
      writeFileSync(partPath(path), "");
      writeFileSync(notePath(path), note);
    }
    descriptor = openSync(partPath(path), "a");
  } catch (error) {
    throw writeFault(error, path, advice);
  }
  const writable = new Writable({
    write(chunk: Buffer, _, callback) {
      try {
        for (let at = 0; at < chunk.length;) at += writeSync(descriptor, chunk, at);
        done += chunk.length;
        onBytes(done);
        callback();
      } catch (error) {
        callback(writeFault(error, path, advice) as Error);
      }
    },
    final(callback) {
      try {
        fsyncSync(descriptor);
      } catch {
        // Not every file system can.
      }
      callback();
    },
    destroy(error, callback) {
      closeSync(descriptor);
      callback(error);
    },
  });
  return {
    get done() {
      return done;
    },
    writable,
  };
};

/** One request and what comes of it. @returns the file's bytes */
const attempt = async (
  url: string,
  path: string,
  part: Part,
  options: AttemptOptions,
): Promise<number> => {
  const { agent, expected, advice, headers, refusal, onProgress, onRestart } = options;
  let sink: Sink | undefined;
  const take = (head: Response): Writable => {
    const range = rangeOf(head);
    if (head.status === 416) {
      if (range.total === part.bytes)
        return new Writable({ write: (_, _encoding, done) => done() });
      // The part is longer than what the server has.
      rmSync(notePath(path), { force: true });
      throw new PassingFault("the file has changed on the server");
    }
    if (!["identity", null].includes(head.headers.get("content-encoding")))
      throw new UserError(
        `Cannot fetch ${url}: found a packed answer, expected the file as it is`,
        "A proxy may have changed it: try another network",
      );
    const goesOn = head.status === 206 && range.from === part.bytes;
    if (head.status === 206 && !goesOn) {
      rmSync(notePath(path), { force: true });
      throw new PassingFault("the server gave another part of the file than it was asked for");
    }
    if (!goesOn && part.bytes > 0) onRestart();
    const start = goesOn ? part.bytes : 0;
    const length = head.headers.get("content-length");
    const total = range.total ?? (length === null ? expected : start + Number(length));
    if (total !== undefined) requireRoom(path, total - start, options);
    sink = openSink(path, {
      start,
      advice,
      note: goesOn ? undefined : JSON.stringify({ url, validator: validatorOf(head) }),
      onBytes: (done) => {
        onProgress(done, total);
      },
    });
    onProgress(start, total);
    return sink.writable;
  };
  await streamRequest(
    url,
    {
      ...{ agent, refusal, hints: advice.hints },
      headers: {
        ...headers,
        // A part of a packed stream is no part of the file.
        "accept-encoding": "identity",
        ...(part.bytes > 0 && { range: `bytes=${String(part.bytes)}-` }),
        ...(part.bytes > 0 && part.validator !== undefined && { "if-range": part.validator }),
      },
    },
    take,
  );
  if (sink === undefined) return part.bytes;
  const { size } = await stat(partPath(path));
  if (size === sink.done) return size;
  await removePart(path);
  throw new PassingFault("another program writes into the same part");
};

/** Takes away what a download has left beside `path`. */
export const removePart = async (path: string): Promise<void> => {
  await rm(partPath(path), { force: true });
  await rm(notePath(path), { force: true });
};
