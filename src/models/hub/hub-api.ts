import type { Dispatcher, Response as HubResponse } from "undici";
import { UserError } from "../../core/errors.js";
import { quoteJson } from "../../core/json-file.js";
import { isJsonObject } from "../../core/json.js";
import {
  describeNetworkFault,
  openAgent,
  PassingFault,
  proxyHint,
  sendRequest,
  withAttempts,
  type Attempts,
  type Environment,
} from "../../core/request.js";
import { isCommit } from "./hub-cache.js";
import { hubNameText, type HubName } from "./hub-name.js";
import type { HubSettings } from "./hub-settings.js";

/** A file of a repository, and the hash by which it is known to be whole. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  readonly hash: { readonly kind: "sha256" | "git blob"; readonly hex: string };
}

/** How the network is used; the defaults suit people, others tests. */
export interface HubNetwork extends Partial<Pick<Attempts, "attempts" | "waitMs">> {
  /** Milliseconds in which something has to arrive. */
  readonly silenceMs?: number;
}

/** What the Hub says of one repository. */
export interface HubRepository {
  readonly name: HubName;
  /** The commit that a revision is. */
  commitOf(revision: string): Promise<string>;
  /** Files in the root of a commit. */
  files(commit: string): Promise<readonly HubFile[]>;
  /** `refs/pr/<n>`: the open pull request by the Hub's converter that adds safetensors to this very commit. */
  conversionOf(commit: string): Promise<string | undefined>;
  addressOf(commit: string, path: string): string;
  /** What is sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** What a refusal of the Hub means. */
  readonly refusal: (response: HubResponse) => UserError | undefined;
  close(): Promise<void>;
}

/** Whether the Hub could not be asked, and not what it has answered. */
export class HubUnreachable extends UserError {}

const tokenPage = "https://huggingface.co/settings/tokens";

/**
 * What the Hub's refusals mean. It answers 401 for what is not there as well, so as not to tell private repositories.
 *
 * Source: hf_raise_for_status of huggingface_hub 2.4.
 */
const refusalOf =
  (name: HubName, { endpoint }: HubSettings, hasToken: boolean) =>
  ({ status, headers }: HubResponse): UserError | undefined => {
    const { repo, revision } = name;
    const code = headers.get("x-error-code") ?? "";
    const said = headers.get("x-error-message") ?? "";
    const task = `Cannot fetch ${hubNameText(name)} from ${endpoint}`;
    const page = `${endpoint}/${repo}`;
    if (code === "GatedRepo")
      return new UserError(
        `${task}: found a gated repository, expected ${hasToken ? "a token of an account that may read it" : "a token in HF_TOKEN"}`,
        hasToken
          ? `Accept its terms at ${page} with the account of the token; a fine-grained token needs leave for gated repositories as well (${tokenPage})`
          : `Accept its terms at ${page}, then set HF_TOKEN to a token of that account (${tokenPage})`,
      );
    if (code === "RevisionNotFound")
      return new UserError(
        `${task}: found no revision ${JSON.stringify(revision ?? "main")}, expected a branch, a tag or a commit`,
        `Its branches and tags stand at ${page}/tree/main`,
      );
    if (code === "EntryNotFound") return undefined;
    if (said === "Access to this resource is disabled.")
      return new UserError(`${task}: found it disabled by the Hub`, `See ${page}`);
    const isTokenRefused =
      hasToken && status === 401 && (code === "" || /invalid credentials/i.test(said));
    if (isTokenRefused)
      return new UserError(
        `${task}: found the token refused (401${said === "" ? "" : `, ${said}`}), expected a valid one`,
        `Set HF_TOKEN to a token that has not been revoked (${tokenPage}), or take it away for what is public`,
      );
    if (code === "RepoNotFound" || status === 401 || status === 404)
      return new UserError(
        `${task}: found no repository of that name, nor a folder, expected one of them`,
        `See whether ${page} opens in a browser. ${hasToken ? "A private repository is seen with a token of an account that may read it" : `A private repository needs HF_TOKEN (${tokenPage})`}`,
      );
    if (status === 403)
      return new UserError(
        `${task}: found it forbidden (403${said === "" ? "" : `, ${said}`}), expected leave to read it`,
        hasToken
          ? `Give the token leave to read ${repo} (${tokenPage})`
          : `Set HF_TOKEN to a token that may read it (${tokenPage})`,
      );
    return undefined;
  };

const badAnswer = (name: HubName, { endpoint }: HubSettings, found: string): UserError =>
  new UserError(
    `Cannot fetch ${hubNameText(name)} from ${endpoint}: found ${found}, expected what the Hub's API answers`,
    "Something in between may answer in its place, such as the sign-in page of a network; or HF_ENDPOINT is another kind of server",
  );

const isHex = (value: unknown, digits: number): value is string =>
  typeof value === "string" && value.length === digits && /^[0-9a-f]+$/.test(value);

/** A file of the tree, or what is wrong with its entry. */
const readEntry = (entry: unknown): HubFile | string | undefined => {
  if (!isJsonObject(entry) || typeof entry.path !== "string") return quoteJson(entry);
  if (entry.type !== "file") return undefined;
  const { path, lfs } = entry;
  const bytes = isJsonObject(lfs) ? lfs.size : entry.size;
  if (typeof bytes !== "number" || !Number.isSafeInteger(bytes) || bytes < 0)
    return `size ${quoteJson(bytes)} of ${JSON.stringify(path)}`;
  if (isJsonObject(lfs))
    return isHex(lfs.oid, 64)
      ? { path, bytes, hash: { kind: "sha256", hex: lfs.oid } }
      : `lfs.oid ${quoteJson(lfs.oid)} of ${JSON.stringify(path)}`;
  return isHex(entry.oid, 40)
    ? { path, bytes, hash: { kind: "git blob", hex: entry.oid } }
    : `oid ${quoteJson(entry.oid)} of ${JSON.stringify(path)}`;
};

/** More files than any model has in its root. */
const mostEntries = 20_000;

/** A fetch for the Hub's library: through proxies, with attempts, with a token for the Hub alone; what it refuses is thrown in words. */
const hubFetch = (
  name: HubName,
  {
    settings,
    agent,
    headers,
    refusal,
    attempts,
  }: Pick<HubRepository, "headers" | "refusal"> & {
    readonly settings: HubSettings;
    readonly agent: Dispatcher;
    readonly attempts: Attempts;
  },
): typeof globalThis.fetch => {
  const { origin } = new URL(settings.endpoint);
  const ask = (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const url = input instanceof Request ? input.url : String(input);
    return withAttempts(
      attempts,
      async () => {
        const response = await sendRequest(url, {
          ...{ agent, refusal },
          method: init.method,
          headers: {
            accept: "application/json",
            // A next page may be said to stand elsewhere.
            ...(new URL(url).origin === origin ? headers : {}),
          },
        });
        try {
          // Here, so that an answer that is cut is asked for again.
          const text = await response.text();
          return new Response(text, {
            status: response.status,
            headers: [...response.headers],
          });
        } catch (error) {
          throw new PassingFault(describeNetworkFault(error));
        }
      },
      (why) =>
        new HubUnreachable(
          `Cannot fetch ${hubNameText(name)} from ${settings.endpoint}: ${why}`,
          `${proxyHint}. HF_ENDPOINT names another server, and HF_HUB_OFFLINE=1 takes what the cache has`,
        ),
    );
  };
  return ask;
};

/** A name in the place of a field of an object that may be none. */
const fieldOf = (value: unknown, name: string): unknown =>
  isJsonObject(value) ? value[name] : undefined;

/** The library is loaded only where the network is needed. */
const loadLibrary = () => import("@huggingface/hub");

/**
 * Opens a repository on the Hub. Nothing is asked yet.
 *
 * The library is asked for what the Hub says; files are fetched by core/download.ts: its own way neither takes up a download that was cut nor
 * looks at hashes.
 * @throws {UserError} if a proxy's address is none
 */
export const openRepository = (
  name: HubName,
  settings: HubSettings,
  {
    environment,
    network: { attempts = 5, waitMs = 1000, silenceMs = 60_000 } = {},
    onRetry,
  }: {
    readonly environment: Environment;
    readonly network?: HubNetwork | undefined;
    readonly onRetry: NonNullable<Attempts["onRetry"]>;
  },
): HubRepository => {
  if (settings.offline) throw new RangeError("Cannot ask the Hub: it is switched off");
  const agent = openAgent(environment, silenceMs);
  const token = settings.token();
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const refusal = refusalOf(name, settings, token !== undefined);
  const ask = hubFetch(name, {
    ...{ settings, agent, headers, refusal },
    attempts: { attempts, waitMs, onRetry },
  });
  const hubUrl = settings.endpoint;
  const { repo } = name;
  const repoOf = { type: "model", name: repo } as const;

  /** What the library cannot make sense of is no answer of the Hub. */
  const understood = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw badAnswer(name, settings, error instanceof SyntaxError ? "no JSON" : String(error));
    }
  };

  return {
    name,
    headers,
    refusal,
    addressOf: (commit, path) => `${hubUrl}/${repo}/resolve/${commit}/${encodeURIComponent(path)}`,
    commitOf: async (revision) => {
      const { modelInfo } = await loadLibrary();
      const info: unknown = await understood(() =>
        modelInfo({ name: repo, revision, hubUrl, fetch: ask, additionalFields: ["sha"] }),
      );
      const sha = fieldOf(info, "sha");
      if (typeof sha !== "string" || !isCommit(sha))
        throw badAnswer(name, settings, `the commit ${quoteJson(sha)}`);
      return sha;
    },
    files: (commit) =>
      understood(async () => {
        const { listFiles } = await loadLibrary();
        const found: HubFile[] = [];
        let count = 0;
        for await (const raw of listFiles({ repo: repoOf, revision: commit, hubUrl, fetch: ask })) {
          const entry = readEntry(raw);
          if (typeof entry === "string") throw badAnswer(name, settings, entry);
          if (entry && !entry.path.includes("/")) found.push(entry);
          if (++count > mostEntries)
            throw badAnswer(name, settings, `more than ${String(mostEntries)} files`);
        }
        return found;
      }),
    conversionOf: (commit) =>
      understood(async () => {
        const response = await ask(`${hubUrl}/api/models/${repo}/discussions`);
        const discussions = fieldOf(await response.json(), "discussions");
        const { listCommits } = await loadLibrary();
        for (const entry of Array.isArray(discussions) ? (discussions as unknown[]) : []) {
          const number = fieldOf(entry, "num");
          const isConversion =
            Number.isSafeInteger(number) &&
            fieldOf(entry, "isPullRequest") === true &&
            fieldOf(entry, "status") === "open" &&
            fieldOf(entry, "title") === "Adding `safetensors` variant of this model" &&
            fieldOf(fieldOf(entry, "author"), "name") === "SFconvertbot";
          if (!isConversion) continue;
          const reference = `refs/pr/${String(number)}`;
          const revision = encodeURIComponent(reference);
          const commits: string[] = [];
          for await (const { oid } of listCommits({
            ...{ repo: repoOf, revision, hubUrl, fetch: ask, batchSize: 2 },
          })) {
            commits.push(oid);
            if (commits.length === 2) break;
          }
          if (commits[1] === commit) return reference;
        }
        return undefined;
      }),
    close: async () => {
      await agent.destroy().catch(() => undefined);
    },
  };
};
