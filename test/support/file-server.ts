import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type AddressInfo } from "node:net";
import type { ExecutionContext } from "ava";

/** What a server's file is, and how it gives it. */
export interface ServedFile {
  readonly content: Buffer;
  /** Cuts the connection behind so many bytes of an answer, that many times. */
  readonly cut?: {
    readonly after: number;
    readonly times: number;
    /** Says nothing more, and leaves the connection open. */
    readonly silent?: boolean;
  };
  /** Answers with these before it gives the file, one a request. */
  readonly statuses?: readonly number[];
  readonly etag?: string;
  /** Gives whole files alone. */
  readonly ignoresRange?: boolean;
  readonly redirect?: string;
  readonly contentType?: string;
}

/** One request as it came. */
export interface SeenRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly host: string | undefined;
}

export interface FileServer {
  readonly address: string;
  readonly port: number;
  readonly seen: SeenRequest[];
  /** By path; may change between requests. */
  readonly files: Map<string, ServedFile>;
}

const listen = async (t: ExecutionContext, server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
};

/** A server of files on this machine, which ends with the test. */
export const startFileServer = async (
  t: ExecutionContext,
  files: Readonly<Record<string, ServedFile>>,
): Promise<FileServer> => {
  const served = new Map(Object.entries(files));
  const seen: SeenRequest[] = [];
  const asked = new Map<string, number>();
  const cuts = new Map<string, number>();
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    // Behind a proxy that does not tunnel, the line holds the whole address.
    const path = new URL(request.url ?? "/", "http://x").pathname;
    const { range, host } = request.headers;
    const ifRange = request.headers["if-range"];
    seen.push({ path, range, ifRange: typeof ifRange === "string" ? ifRange : undefined, host });
    const count = asked.get(path) ?? 0;
    asked.set(path, count + 1);
    const file = served.get(path);
    if (!file) return void response.writeHead(404).end("nothing here");
    const status = file.statuses?.[count];
    if (status !== undefined) return void response.writeHead(status).end();
    if (file.redirect !== undefined)
      return void response.writeHead(302, { location: file.redirect }).end();
    const { content, etag, cut } = file;
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? NaN);
    const isSame = ifRange === undefined || ifRange === etag;
    const isPart = Number.isFinite(from) && isSame && !file.ignoresRange;
    if (isPart && from >= content.length)
      return void response
        .writeHead(416, { "content-range": `bytes */${String(content.length)}` })
        .end();
    const body = isPart ? content.subarray(from) : content;
    response.writeHead(isPart ? 206 : 200, {
      "content-length": body.length,
      "content-type": file.contentType ?? "application/octet-stream",
      ...(etag !== undefined && { etag }),
      ...(isPart && {
        "content-range": `bytes ${String(from)}-${String(content.length - 1)}/${String(content.length)}`,
      }),
    });
    const done = cuts.get(path) ?? 0;
    if (cut && done < cut.times) {
      cuts.set(path, done + 1);
      response.write(body.subarray(0, cut.after), () => {
        // An end, not a reset: a reset throws away what the other side has not read yet, on a busy machine all of it.
        if (!cut.silent) setTimeout(() => response.socket?.end(), 400);
      });
      return;
    }
    response.end(body);
  };
  const port = await listen(t, createServer(answer));
  return { address: `http://127.0.0.1:${String(port)}`, port, seen, files: served };
};

export interface ProxyServer {
  readonly address: string;
  /** Lines such as `GET http://publisher.example/x` and `CONNECT host:443`. */
  readonly asked: string[];
  readonly authorizations: (string | undefined)[];
}

/**
 * A proxy on this machine that takes every host to be at `port`, and ends with the test.
 *
 * @param credentials without them it answers 407
 */
export const startProxy = async (
  t: ExecutionContext,
  port: number,
  credentials?: string,
): Promise<ProxyServer> => {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const allows = ({ headers }: IncomingMessage): boolean => {
    const given = headers["proxy-authorization"];
    authorizations.push(given);
    const expected = `Basic ${Buffer.from(credentials ?? "").toString("base64")}`;
    return credentials === undefined || given === expected;
  };
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
    if (!allows(request)) return void response.writeHead(407).end();
    const upstream = connect(port, "127.0.0.1", () => {
      const { pathname, search } = new URL(request.url ?? "/");
      const { range, host } = request.headers;
      upstream.write(
        `GET ${pathname}${search} HTTP/1.1\r\nhost: ${host ?? ""}\r\n${range === undefined ? "" : `range: ${range}\r\n`}connection: close\r\n\r\n`,
      );
    });
    // The answer is handed on as it comes, its head too.
    if (response.socket) upstream.pipe(response.socket);
    upstream.on("error", () => response.destroy());
  });
  server.on("connect", (request: IncomingMessage, socket) => {
    asked.push(`CONNECT ${request.url ?? ""}`);
    if (!allows(request)) return void socket.end("HTTP/1.1 407 Wants a name\r\n\r\n");
    const upstream = connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connected\r\n\r\n");
      upstream.pipe(socket);
      socket.pipe(upstream);
    });
    upstream.on("error", () => socket.destroy());
    socket.on("error", () => upstream.destroy());
  });
  const proxyPort = await listen(t, server);
  return { address: `http://127.0.0.1:${String(proxyPort)}`, asked, authorizations };
};
