import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { ExecutionContext } from "ava";

/** One commit of a repository: its files by their names. */
export type HubCommit = Readonly<Record<string, Buffer>>;

export interface ServedRepo {
  /** By branch, tag or `refs/pr/<n>`. A commit's id is a hash of its files. */
  readonly revisions: Readonly<Record<string, HubCommit>>;
  /** Answers of /discussions. */
  readonly discussions?: readonly object[];
  /** "gated" wants the token, and then leave; "private" is not there without the token. */
  readonly access?: "gated" | "private";
  /** Commits beneath a revision's own, for /commits. */
  readonly parents?: Readonly<Record<string, string>>;
}

/** A request as it came. */
export interface HubRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  /** Whether it came to the host of large files. */
  readonly atStore: boolean;
}

/** What is done to requests for a path that ends so. */
export interface HubFault {
  readonly ending: string;
  /** So many times; then all is well. */
  readonly times: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Cuts the connection behind so many bytes. */
  readonly cutAfter?: number;
  /** Says nothing more behind these bytes, instead of cutting. */
  readonly stalls?: boolean;
  /** Gives other bytes. */
  readonly spoil?: boolean;
}

export interface HubServer {
  readonly address: string;
  readonly seen: HubRequest[];
  readonly repos: Map<string, ServedRepo>;
  readonly faults: (HubFault & { count?: number })[];
  /** Tokens that are known, and whether they have leave for what is gated. */
  readonly tokens: Map<string, boolean>;
}

const sha1 = (text: string | Buffer): string => createHash("sha1").update(text).digest("hex");

/** Git's id of a blob. */
export const gitBlob = (content: Buffer): string =>
  sha1(Buffer.concat([Buffer.from(`blob ${String(content.length)}\0`), content]));

export const sha256 = (content: Buffer): string =>
  createHash("sha256").update(content).digest("hex");

/** The id that the server gives a commit of these files. */
export const commitIdOf = (files: HubCommit): string =>
  sha1(JSON.stringify(Object.entries(files).map(([name, content]) => [name, gitBlob(content)])));

/** Weights are stored as large files, as on the Hub. */
const isLarge = (name: string): boolean => /\.(?:safetensors|bin|gguf)$/.test(name);

/** The files of a folder, as a commit. */
export const commitOfFolder = (folder: string): HubCommit =>
  Object.fromEntries(
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, readFileSync(join(folder, name))]),
  );

/**
 * A server on this machine that speaks the Hub's protocol as far as reading goes, with a second one, another origin, for large files;
 * both end with the test.
 *
 * Source: openapi of the Hub's API; file_download.py and _tree of huggingface_hub.
 */
export const startHubServer = async (
  t: ExecutionContext,
  repos: Readonly<Record<string, ServedRepo>>,
): Promise<HubServer> => {
  const served = new Map(Object.entries(repos));
  const seen: HubRequest[] = [];
  const faults: HubServer["faults"] = [];
  const tokens = new Map<string, boolean>();
  const listen = async (
    answer: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<string> => {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  };
  const note = (request: IncomingMessage, atStore: boolean): string => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname);
    const { range, authorization } = request.headers;
    seen.push({ path, range, authorization, atStore });
    return path;
  };
  const faultOf = (path: string): HubFault | undefined => {
    const fault = faults.find(
      ({ ending, times, count = 0 }) => path.endsWith(ending) && count < times,
    );
    if (fault) fault.count = (fault.count ?? 0) + 1;
    return fault;
  };
  const give = (
    { headers }: IncomingMessage,
    response: ServerResponse,
    { content, fault, etag }: { content: Buffer; fault: HubFault | undefined; etag: string },
  ): void => {
    const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? NaN);
    const isPart = Number.isFinite(from);
    if (isPart && from >= content.length)
      return void response
        .writeHead(416, { "content-range": `bytes */${String(content.length)}` })
        .end();
    const whole = fault?.spoil ? Buffer.from(content).reverse() : content;
    const body = isPart ? whole.subarray(from) : whole;
    response.writeHead(isPart ? 206 : 200, {
      "content-length": body.length,
      etag: `"${etag}"`,
      ...(isPart && {
        "content-range": `bytes ${String(from)}-${String(content.length - 1)}/${String(content.length)}`,
      }),
    });
    if (fault?.cutAfter === undefined) return void response.end(body);
    response.write(body.subarray(0, fault.cutAfter), () => {
      if (!fault.stalls) setTimeout(() => response.socket?.end(), 400);
    });
  };
  const refuse = (response: ServerResponse, status: number, code: string, message: string): void =>
    void response
      .writeHead(status, {
        "content-type": "application/json; charset=utf-8",
        ...(code !== "" && { "x-error-code": code }),
        "x-error-message": message,
      })
      .end(JSON.stringify({ error: message }));

  /** The store of large files: knows no tokens, and addresses that are signed. */
  const store = await listen((request, response) => {
    const path = note(request, true);
    const found = [...served.values()]
      .flatMap(({ revisions }) => Object.values(revisions))
      .flatMap((commit) => Object.values(commit))
      .find((content) => `/${sha256(content)}` === path);
    if (!found) return void response.writeHead(404).end();
    const fault = faultOf(path);
    if (fault?.status !== undefined)
      return void response.writeHead(fault.status, fault.headers).end(fault.body);
    give(request, response, { content: found, fault, etag: sha256(found) });
  });

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const path = note(request, false);
    const fault = faultOf(path);
    if (fault?.status !== undefined)
      return void response.writeHead(fault.status, fault.headers).end(fault.body);
    const api =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree|commits|discussions)(?:\/(.+))?$/.exec(path);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const [, repoName = "", kind = "resolve", rest = ""] = api ?? [
      path,
      file?.[1],
      undefined,
      file?.[2],
    ];
    const repo = served.get(repoName);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    if (token !== undefined && !tokens.has(token))
      return refuse(response, 401, "", "Invalid credentials in Authorization header");
    if (!repo || (repo.access === "private" && token === undefined))
      return refuse(
        response,
        token === undefined ? 401 : 404,
        "RepoNotFound",
        "Repository not found",
      );
    const revisions = Object.entries(repo.revisions);
    const commit = revisions.find(
      ([name, files]) => name === rest || commitIdOf(files) === rest,
    )?.[1];
    const json = (value: unknown, headers: Readonly<Record<string, string>> = {}): void =>
      void response
        .writeHead(200, { "content-type": "application/json", ...headers })
        .end(JSON.stringify(value));
    if (kind === "discussions") return json({ discussions: repo.discussions ?? [], count: 1 });
    if (!commit) return refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${rest}`);
    const sha = commitIdOf(commit);
    if (kind === "revision")
      return json({
        ...{ _id: "1", id: repoName, sha, private: repo.access === "private", downloads: 1 },
        ...{ gated: false, likes: 0, lastModified: "2024-01-01T00:00:00.000Z" },
        siblings: Object.keys(commit).map((rfilename) => ({ rfilename })),
      });
    if (kind === "commits") {
      const parent = repo.parents?.[rest];
      return json(
        [sha, ...(parent === undefined ? [] : [parent])].map((id) => ({
          ...{ id, title: "", message: "", authors: [], date: "2024-01-01T00:00:00.000Z" },
        })),
      );
    }
    if (kind === "tree") {
      const entries = [
        { type: "directory", oid: sha1("tree"), size: 0, path: "onnx" },
        ...Object.entries(commit).map(([name, content]) => ({
          ...{ type: "file", path: name, size: content.length },
          ...(isLarge(name)
            ? {
                oid: sha1(`pointer of ${sha256(content)}`),
                lfs: { oid: sha256(content), size: content.length, pointerSize: 134 },
              }
            : { oid: gitBlob(content) }),
        })),
      ];
      // Two pages, as of long lists.
      const isSecond = (request.url ?? "").includes("cursor=2");
      const next = `<http://${request.headers.host ?? ""}/api/models/${repoName}/tree/${rest}?recursive=false&cursor=2>; rel="next"`;
      return isSecond ? json(entries.slice(2)) : json(entries.slice(0, 2), { link: next });
    }
    if (repo.access === "gated" && (token === undefined || tokens.get(token) !== true))
      return refuse(
        response,
        token === undefined ? 401 : 403,
        "GatedRepo",
        `Access to model ${repoName} is restricted`,
      );
    const content = commit[file?.[3] ?? ""];
    if (!content) return refuse(response, 404, "EntryNotFound", "Entry not found");
    if (isLarge(file?.[3] ?? ""))
      return void response
        .writeHead(302, {
          location: `${store}/${sha256(content)}?signature=abc`,
          "x-repo-commit": sha,
          "x-linked-etag": `"${sha256(content)}"`,
          "x-linked-size": String(content.length),
        })
        .end();
    response.setHeader("x-repo-commit", sha);
    give(request, response, { content, fault, etag: gitBlob(content) });
  };
  const address = await listen(answer);
  return { address, seen, repos: served, faults, tokens };
};
