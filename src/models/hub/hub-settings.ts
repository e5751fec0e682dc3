import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../core/errors.js";
import type { Environment } from "../../core/request.js";

/** Where the Hub and its cache are, and as whom it is asked. */
export interface HubSettings {
  /** Without a closing slash. */
  readonly endpoint: string;
  readonly cacheFolder: string;
  /** Read only when the Hub is asked. */
  readonly token: () => string | undefined;
  /** No socket is opened. */
  readonly offline: boolean;
}

const isTrue = (text: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(text ?? "");

/** `~` and `$NAME` in a path, as a shell has them. */
const expand = (path: string, environment: Environment): string =>
  path
    .replace(/^~(?=[/\\]|$)/, environment["HOME"] ?? homedir())
    .replaceAll(
      /\$(?:\{(\w+)\}|(\w+))/g,
      (text, a?: string, b?: string) => environment[a ?? b ?? ""] ?? text,
    );

const firstLine = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch {
    return undefined;
  }
};

/**
 * The Hub's settings, by the variables that Hugging Face's own programs read: HF_ENDPOINT; HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME
 * and XDG_CACHE_HOME; HF_TOKEN, HUGGING_FACE_HUB_TOKEN and the file of `hf auth login` (HF_TOKEN_PATH), unless
 * HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE.
 *
 * Source: constants.py and utils/_auth.py of huggingface_hub 2.4.
 * @throws {UserError} if HF_ENDPOINT is no address
 */
export const readHubSettings = (environment: Environment): HubSettings => {
  // An empty variable is one that is not set.
  const of = (...names: readonly string[]): string | undefined =>
    names.map((name) => environment[name]).find((text) => text !== undefined && text !== "");
  const path = (...names: readonly string[]): string | undefined => {
    const text = of(...names);
    return text === undefined ? undefined : expand(text, environment);
  };
  const userCache = path("XDG_CACHE_HOME") ?? join(expand("~", environment), ".cache");
  const home = path("HF_HOME") ?? join(userCache, "huggingface");
  const endpoint = (of("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:\/\/[^/\s]+/.test(endpoint))
    throw new UserError(
      `Cannot use HF_ENDPOINT: found ${JSON.stringify(endpoint)}, expected an address such as https://huggingface.co`,
    );
  return {
    endpoint,
    cacheFolder: path("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
    offline: isTrue(of("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
    token: () =>
      isTrue(of("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        ? undefined
        : (of("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")?.trim() ??
          firstLine(path("HF_TOKEN_PATH") ?? join(home, "token"))),
  };
};
