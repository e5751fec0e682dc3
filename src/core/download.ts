import { writeSync } from "node:fs";
import { open, readFile, rm, stat, statfs, writeFile, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EnvHttpProxyAgent, fetch, type Dispatcher, type Response } from "undici";
import { UserError, messageOf } from "./errors.js";
import { makeFolder } from "./folder.js";
import { isJsonObject, tryParseJson } from "./json.js";

/** Where a file is while it comes: a hidden one beside its place. */
export const partPath = (path: string): string => join(dirname(path), `.${basename(path)}.part`);

/** What is noted beside a part, to know on the next start whether it belongs to what the server then has. */
const notePath = (path: string): string => `${partPath(path)}.json`;

/** The environment's variables; of them http_proxy, https_proxy and no_proxy count, in small letters or capitals. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface DownloadOptions {
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
  /** Says why it begins again. */
  readonly onRetry?: (why: string) => void;
  /** Bytes that the folder's file system has room for. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

export interface Downloaded {
  /** Bytes that were there from an earlier start. */
  readonly resumedAt: number;
  readonly bytes: number;
}

/** A fault that another attempt may mend. */
class PassingFault extends Error {
  constructor(
    message: string,
    /** What the server asks for. */
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

const variable = (environment: Environment, name: string): string | undefined =>
  environment[name] ?? environment[name.toUpperCase()];

const proxyHint =
  "Is the machine on the network? Behind a proxy, set HTTPS_PROXY (and HTTP_PROXY); certificates of your own go into NODE_EXTRA_CA_CERTS";

/**
 * What sends requests: through the proxies of the environment, for hosts that NO_PROXY does not name.
 *
 * Plain http goes to the proxy as a request and not through a tunnel: many allow tunnels to port 443 alone.
 * @throws {UserError} if a proxy's address is none
 */
const openAgent = (environment: Environment, silenceMs: number): Dispatcher => {
  const proxies = ["http_proxy", "https_proxy"].map((name) => {
    const address = variable(environment, name) ?? "";
    if (address !== "" && !/^(?:https?|socks5?):\/\/[^/]/i.test(address))
      throw new UserError(
        `Cannot use the proxy of ${name.toUpperCase()}: found ${JSON.stringify(address)}, expected an address such as http://proxy:8080`,
      );
    return address;
  });
  return new EnvHttpProxyAgent({
    httpProxy: proxies[0] ?? "",
    httpsProxy: proxies[1] ?? "",
    noProxy: variable(environment, "no_proxy") ?? "",
    proxyTunnel: false,
    headersTimeout: silenceMs,
    bodyTimeout: silenceMs,
    connect: { timeout: silenceMs },
  });
};

/** The innermost cause of what fetch throws: "fetch failed" says nothing. */
const causeOf = (error: unknown): unknown => {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  return cause;
};

const networkWords: Readonly<Record<string, string>> = {
  ENOTFOUND: "no such host is known",
  EAI_AGAIN: "the name server does not answer",
  ECONNREFUSED: "the connection is refused",
  ECONNRESET: "the connection was cut",
  UND_ERR_SOCKET: "the connection was cut",
  UND_ERR_CONNECT_TIMEOUT: "nothing answers",
  UND_ERR_HEADERS_TIMEOUT: "the server does not answer",
  UND_ERR_BODY_TIMEOUT: "the server has gone silent",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the connection was cut",
};

const describeNetworkFault = (error: unknown): string => {
  const cause = causeOf(error);
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return networkWords[code] ?? messageOf(cause);
};

/** Why a certificate is not believed; another attempt changes nothing. */
const isCertificateFault = (error: unknown): boolean => {
  const cause = causeOf(error);
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return /CERT|SIGNATURE|ERR_TLS/.test(code);
};

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

const statusWords: Readonly<Record<number, string>> = {
  401: "it wants an account or a token",
  403: "it does not allow this",
  404: "it has no such file",
  410: "the file is gone",
  451: "it may not give the file out",
};

const statusHints: Readonly<Record<number, string>> = {
  401: "Fetch it by hand with your account, and put it in its place: hira data list NAME says where",
  403: "Fetch it by hand, and put it in its place: hira data list NAME says where",
  404: "The publisher has moved it: fetch it by hand, and put it in its place (hira data list NAME), or name another server with --mirror",
  407: "Write them into the proxy's address: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
};

/** @throws {PassingFault} where the server may yet give the file, {UserError} where it says that it will not */
const requireFile = (response: Response, url: string): void => {
  const { status, statusText } = response;
  if (status === 200 || status === 206 || status === 416) return;
  const said = `${String(status)}${statusText === "" ? "" : ` ${statusText}`}`;
  if (status === 408 || status === 429 || status >= 500) {
    const seconds = Number(response.headers.get("retry-after") ?? "");
    throw new PassingFault(
      `the server says ${said}`,
      seconds > 0 ? Math.min(seconds, 120) * 1000 : undefined,
    );
  }
  const words = statusWords[status];
  throw new UserError(
    `Cannot fetch ${url}: the server says ${said}${words === undefined ? "" : `, ${words}`}`,
    statusHints[status] ?? "See whether the address opens in a browser",
  );
};

const requireRoom = async (
  path: string,
  bytes: number,
  freeBytes: NonNullable<DownloadOptions["freeBytes"]>,
): Promise<void> => {
  const free = await freeBytes(dirname(path)).catch(() => Infinity);
  if (bytes <= free) return;
  const mib = (count: number): string => `${String(Math.ceil(count / 2 ** 20))} MiB`;
  throw new UserError(
    `Cannot fetch ${path}: found ${mib(free)} free on its disk, expected room for ${mib(bytes)} more`,
    "Make room, or choose another data folder with --data_dir",
  );
};

const freeBytesOf = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
};

/** What the system says against writing the part. What has come before stays. */
const writeFault = (error: unknown, path: string): unknown =>
  error instanceof Error && "syscall" in error
    ? new UserError(
        `Cannot write ${partPath(path)}: ${messageOf(error)}`,
        "Make room, or choose a --data_dir that can be written; what has come so far stays, and the same command goes on behind it",
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
    bytes,
    onProgress,
    onRetry,
  }: DownloadOptions = {},
): Promise<Downloaded> => {
  const agent = openAgent(environment, silenceMs);
  let resumedAt: number | undefined;
  let failed = 0;
  try {
    await makeFolder(dirname(path)).catch((error: unknown) => {
      throw writeFault(error, path);
    });
    for (;;) {
      const part = await readPart(path, url, isVerified);
      resumedAt ??= part.bytes;
      try {
        const got = await attempt(url, path, part, {
          agent,
          expected: bytes,
          freeBytes,
          onProgress: (done, total) => {
            if (done > part.bytes) failed = 0;
            onProgress?.(done, total);
          },
          onRestart: () => {
            resumedAt = 0;
          },
        });
        return { resumedAt, bytes: got };
      } catch (error) {
        if (!(error instanceof PassingFault)) throw error;
        failed++;
        if (failed >= attempts)
          throw new UserError(
            `Cannot fetch ${url}: ${error.message}, ${String(attempts)} times in a row`,
            `${proxyHint}. What has come so far stays, and the same command goes on behind it`,
          );
        onRetry?.(error.message);
        await sleep(error.waitMs ?? waitMs * 2 ** (failed - 1));
      }
    }
  } finally {
    await agent.destroy().catch(() => undefined);
  }
};

const writeWhole = (descriptor: number, chunk: Uint8Array, path: string): void => {
  try {
    for (let at = 0; at < chunk.byteLength;) at += writeSync(descriptor, chunk, at);
  } catch (error) {
    throw writeFault(error, path);
  }
};

/** One request and what comes of it. @returns the file's bytes */
const attempt = async (
  url: string,
  path: string,
  part: Part,
  {
    agent,
    expected,
    freeBytes,
    onProgress,
    onRestart,
  }: {
    readonly agent: Dispatcher;
    readonly expected: number | undefined;
    readonly freeBytes: NonNullable<DownloadOptions["freeBytes"]>;
    readonly onProgress: NonNullable<DownloadOptions["onProgress"]>;
    readonly onRestart: () => void;
  },
): Promise<number> => {
  const response = await request(url, part, agent);
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
  if (total !== undefined) await requireRoom(path, total - start, freeBytes);
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
    throw writeFault(error, path);
  }
  let done = start;
  try {
    onProgress(done, total);
    for await (const chunk of response.body ?? []) {
      // At once: what a stream has in its queue is lost when its connection is cut.
      writeWhole(file.fd, chunk as Uint8Array, path);
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

const request = async (url: string, part: Part, agent: Dispatcher): Promise<Response> => {
  let response: Response;
  try {
    response = await fetch(url, {
      dispatcher: agent,
      headers: {
        "user-agent": "hira",
        // A part of a packed stream is no part of the file.
        "accept-encoding": "identity",
        ...(part.bytes > 0 && { range: `bytes=${String(part.bytes)}-` }),
        ...(part.bytes > 0 && part.validator !== undefined && { "if-range": part.validator }),
      },
    });
  } catch (error) {
    const why = describeNetworkFault(error);
    if (isCertificateFault(error))
      throw new UserError(
        `Cannot fetch ${url}: its certificate is not believed: ${why}`,
        proxyHint,
      );
    const refusal = /Proxy response \((\d+)\)|Proxy Authentication Required \((407)\)/.exec(why);
    if (refusal) {
      const status = Number(refusal[1] ?? refusal[2]);
      throw new UserError(
        `Cannot fetch ${url}: the proxy says ${String(status)}${status === 407 ? ", it wants a name and a password" : ""}`,
        statusHints[status] ?? "Ask whoever runs the proxy whether it lets this host through",
      );
    }
    if (/redirect count/.test(why))
      throw new UserError(`Cannot fetch ${url}: found redirects in a circle, expected a file`);
    throw new PassingFault(why);
  }
  if (url.startsWith("https:") && response.url.startsWith("http:")) {
    await response.body?.cancel();
    throw new UserError(
      `Cannot fetch ${url}: found a redirect to ${response.url}, expected one that stays encrypted`,
    );
  }
  try {
    requireFile(response, url);
  } catch (error) {
    await response.body?.cancel();
    throw error;
  }
  return response;
};

/** Takes away what a download has left beside `path`. */
export const removePart = async (path: string): Promise<void> => {
  await rm(partPath(path), { force: true });
  await rm(notePath(path), { force: true });
};
