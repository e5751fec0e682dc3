import { STATUS_CODES } from "node:http";
import { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { EnvHttpProxyAgent, fetch, Headers, Response, type Dispatcher } from "undici";
import { UserError, messageOf } from "./errors.js";

/** The environment's variables; of them http_proxy, https_proxy and no_proxy count here, in small letters or capitals. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A fault that another attempt may mend. */
export class PassingFault extends Error {
  constructor(
    message: string,
    /** What the server asks for. */
    readonly waitMs?: number,
    /** Whether not even the host's name is known: without a network that is so at the first attempt, and at the others. */
    readonly isUnresolved = false,
  ) {
    super(message);
  }
}

const variable = (environment: Environment, name: string): string | undefined =>
  environment[name] ?? environment[name.toUpperCase()];

/** What to try where the network does not work. */
export const proxyHint =
  "Is the machine on the network? Behind a proxy, set HTTPS_PROXY (and HTTP_PROXY); certificates of your own go into NODE_EXTRA_CA_CERTS";

/**
 * What sends requests: through the proxies of the environment, for hosts that NO_PROXY does not name.
 *
 * Plain http goes to the proxy as a request and not through a tunnel: many allow tunnels to port 443 alone.
 * @param silenceMs in which something has to arrive
 * @throws {UserError} if a proxy's address is none
 */
export const openAgent = (environment: Environment, silenceMs: number): Dispatcher => {
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

const codeOf = (error: unknown): string => {
  const cause = causeOf(error);
  return cause instanceof Error && "code" in cause ? String(cause.code) : "";
};

/** What a request or the reading of its answer has thrown, in words. */
export const describeNetworkFault = (error: unknown): string =>
  networkWords[codeOf(error)] ?? messageOf(causeOf(error));

/** Why a certificate is not believed; another attempt changes nothing. */
const isCertificateFault = (error: unknown): boolean =>
  /CERT|SIGNATURE|ERR_TLS/.test(codeOf(error));

const statusWords: Readonly<Record<number, string>> = {
  401: "it wants an account or a token",
  403: "it does not allow this",
  404: "it has no such file",
  410: "the file is gone",
  451: "it may not give the file out",
};

/** What to do about a status; a caller knows better ways for some. */
export type StatusHints = Readonly<Record<number, string>>;

const ownHints: StatusHints = {
  407: "Write them into the proxy's address: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
};

const longestWaitMs = 120_000;

/**
 * How long a server wants to be left alone, in milliseconds: Retry-After in seconds or as a date, else what a rate limit's header says.
 *
 * Source: RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers, `ratelimit: "api";r=0;t=55`, as the Hub sends it.
 */
export const waitOf = (
  headers: { get(name: string): string | null },
  now = Date.now(),
): number | undefined => {
  const after =
    headers.get("retry-after") ?? /;\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
  if (after === undefined || after === "") return undefined;
  const seconds = Number(after);
  const waitMs = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(after) - now;
  return waitMs > 0 ? Math.min(waitMs, longestWaitMs) : undefined;
};

/** One HTTP request, and how a refusal is explained. */
export interface RequestOptions {
  readonly agent: Dispatcher;
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** What a refusal means to whoever asks, where it means more than its status. */
  readonly refusal?: ((response: Response) => UserError | undefined) | undefined;
  readonly hints?: StatusHints | undefined;
}

/** @throws {PassingFault} where the server may yet answer, {UserError} where it says that it will not */
const requireAnswer = (
  response: Response,
  url: string,
  { refusal, hints }: Pick<RequestOptions, "refusal" | "hints">,
): void => {
  const { status, statusText } = response;
  if (response.ok || status === 416) return;
  const said = `${String(status)}${statusText === "" ? "" : ` ${statusText}`}`;
  if (status === 408 || status === 429 || status >= 500)
    throw new PassingFault(`the server says ${said}`, waitOf(response.headers));
  const told = refusal?.(response);
  if (told) throw told;
  const words = statusWords[status];
  throw new UserError(
    `Cannot fetch ${url}: the server says ${said}${words === undefined ? "" : `, ${words}`}`,
    hints?.[status] ?? ownHints[status] ?? "See whether the address opens in a browser",
  );
};

/** What to throw where the network has failed: what another attempt may mend, or what it may not. */
const networkFault = (error: unknown, url: string): Error => {
  const why = describeNetworkFault(error);
  if (isCertificateFault(error))
    return new UserError(`Cannot fetch ${url}: its certificate is not believed: ${why}`, proxyHint);
  const refused = /Proxy response \((\d+)\)|Proxy Authentication Required \((407)\)/.exec(why);
  if (refused) {
    const status = Number(refused[1] ?? refused[2]);
    return new UserError(
      `Cannot fetch ${url}: the proxy says ${String(status)}${status === 407 ? ", it wants a name and a password" : ""}`,
      ownHints[status] ?? "Ask whoever runs the proxy whether it lets this host through",
    );
  }
  if (/redirect count/.test(why))
    return new UserError(`Cannot fetch ${url}: found redirects in a circle, expected a file`);
  return new PassingFault(why, undefined, /^(?:ENOTFOUND|EAI_AGAIN)$/.test(codeOf(error)));
};

/**
 * One request, and its answer if that is one: a status of success, or 416. Redirects are followed, but not from https to http.
 *
 * @throws {PassingFault} where another attempt may do better, {UserError} where none will
 */
export const sendRequest = async (
  url: string,
  { agent, method, headers, body, refusal, hints }: RequestOptions,
): Promise<Response> => {
  let response: Response;
  try {
    response = await fetch(url, {
      dispatcher: agent,
      ...(method !== undefined && { method }),
      ...(body !== undefined && { body }),
      headers: { "user-agent": "hira", ...headers },
    });
  } catch (error) {
    throw networkFault(error, url);
  }
  if (url.startsWith("https:") && response.url.startsWith("http:")) {
    await response.body?.cancel();
    throw new UserError(
      `Cannot fetch ${url}: found a redirect to ${response.url}, expected one that stays encrypted`,
    );
  }
  try {
    requireAnswer(response, url, { refusal, hints });
  } catch (error) {
    await response.body?.cancel();
    throw error;
  }
  return response;
};

/** The addresses that one request may be sent on to. */
const mostRedirects = 10;

/**
 * As sendRequest, but the answer's bytes go straight into what `take` gives for its head: the stream of fetch loses what waits in its
 * queue when its connection is cut, which on a busy machine is all of it.
 *
 * An authorization goes to the address's own host alone.
 * @param take gets the head of the answer, without a body
 * @throws {PassingFault} where another attempt may do better, {UserError} where none will; what `take` throws
 */
export const streamRequest = async (
  url: string,
  { agent, headers = {}, refusal, hints }: Omit<RequestOptions, "method" | "body">,
  take: (head: Response) => Writable,
): Promise<void> => {
  for (let [at, hop] = [url, 0]; ; hop++) {
    const { origin, pathname, search } = new URL(at);
    const isOwn = origin === new URL(url).origin;
    const sent = Object.entries(headers).filter(
      ([name]) => isOwn || !/^authorization$/i.test(name),
    );
    let next: string | null = null;
    let fault: { readonly error: unknown } | undefined;
    try {
      await agent.stream(
        {
          origin,
          path: `${pathname}${search}`,
          method: "GET",
          headers: { "user-agent": "hira", ...Object.fromEntries(sent) },
        },
        ({ statusCode, headers: told }) => {
          const head = headOf(statusCode, told);
          if (statusCode >= 300 && statusCode < 400) next = head.headers.get("location");
          try {
            if (next !== null) return swallow();
            requireAnswer(head, url, { refusal, hints });
            return take(head);
          } catch (error) {
            fault = { error };
            // The rest need not come.
            return swallow().destroy();
          }
        },
      );
    } catch (error) {
      if (fault) throw fault.error;
      throw error instanceof UserError ? error : networkFault(error, url);
    }
    if (fault) throw fault.error;
    if (next === null) return;
    const target = new URL(next, at);
    if (hop >= mostRedirects)
      throw new UserError(`Cannot fetch ${url}: found redirects in a circle, expected a file`);
    if (at.startsWith("https:") && target.protocol !== "https:")
      throw new UserError(
        `Cannot fetch ${url}: found a redirect to ${target.href}, expected one that stays encrypted`,
      );
    at = target.href;
  }
};

/** What nobody wants of an answer. */
const swallow = (): Writable =>
  new Writable({
    write: (_, _encoding, callback) => {
      callback();
    },
  });

const headOf = (
  status: number,
  told: Readonly<Record<string, string | string[] | undefined>>,
): Response => {
  const headers = new Headers();
  for (const [name, value] of Object.entries(told))
    for (const one of [value ?? []].flat()) headers.append(name, one);
  return new Response(null, { status, statusText: STATUS_CODES[status] ?? "", headers });
};

/** How often and how patiently a failed request is made again. */
export interface Attempts {
  /** Attempts without news after which it is given up. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; before each further one, twice as many. */
  readonly waitMs: number;
  /** Says why it begins again, and after how long. */
  readonly onRetry?: ((why: string, waitMs: number) => void) | undefined;
}

/**
 * Does `attempt` again where it throws a PassingFault: `attempts` times in a row, between which it may call `hasNews` to begin counting anew.
 * A host whose name is not known is asked again only where something has come before.
 *
 * @param fault what is thrown in the end
 */
export const withAttempts = async <T>(
  { attempts, waitMs, onRetry }: Attempts,
  attempt: (hasNews: () => void) => Promise<T>,
  fault: (why: string) => UserError,
): Promise<T> => {
  let [failed, hadNews] = [0, false];
  for (;;) {
    try {
      return await attempt(() => {
        [failed, hadNews] = [0, true];
      });
    } catch (error) {
      if (!(error instanceof PassingFault)) throw error;
      failed++;
      if (failed >= attempts || (error.isUnresolved && !hadNews))
        throw fault(
          failed > 1 ? `${error.message}, ${String(failed)} times in a row` : error.message,
        );
      const pause = error.waitMs ?? waitMs * 2 ** (failed - 1);
      onRetry?.(error.message, pause);
      await sleep(pause);
    }
  }
};
