import { existsSync } from "node:fs";
import { UserError } from "../../core/errors.js";
import type { Environment } from "../../core/request.js";
import type { HubUi } from "./fetch-snapshot.js";
import type { HubNetwork } from "./hub-api.js";
import { findCached, tokenizerFile, type HubPurpose } from "./hub-cache.js";
import { hubNameText, parseHubName } from "./hub-name.js";
import { readHubSettings } from "./hub-settings.js";

/** What a repository is wanted for, and how it is looked for and reported. */
export interface FindOptions {
  readonly purpose: HubPurpose;
  readonly ui: HubUi;
  readonly environment?: Environment;
  readonly network?: HubNetwork;
}

/**
 * The folder that a name stands for. What is there as a folder or a file is that, as in transformers; `org/name[@revision]` is looked for in
 * the Hub's cache and, if that does not have it whole, fetched into it. What is taken for a path is given back as it is, for its reader
 * to say that it is not there: what can be nothing else, and, unless the cache has it, a name without an owner, and `org/name` without a revision where
 * a folder `org` is there.
 *
 * A revision that the cache has is not asked for again, so a branch stays what it was when it was fetched.
 * @throws {UserError} if the Hub does not have it, does not give it out or cannot be reached, or it is nothing that can be used
 */
export const findOnHub = async (
  text: string,
  { purpose, ui, environment = process.env, network }: FindOptions,
): Promise<string> => {
  const name = existsSync(text) ? undefined : parseHubName(text);
  if (!name) return text;
  const settings = readHubSettings(environment);
  const cached = await findCached(settings.cacheFolder, name, purpose);
  if (cached?.conversion !== undefined)
    ui.line(`${name.repo} is taken from the Hub's converter, ${name.repo}@${cached.conversion}`);
  if (cached?.is === "whole") return cached.folder;
  // A folder's name that is mistyped must not go out to the network; names without an owner are old ones.
  const [owner = "", rest] = name.repo.split("/");
  const isPath = rest === undefined || (name.revision === undefined && existsSync(owner));
  if (isPath) return cached?.folder ?? text;
  if (settings.offline) {
    if (cached) return cached.folder;
    throw new UserError(
      `Cannot find ${hubNameText(name)}: found neither a folder of that name nor ${wantedOf[purpose]} in the Hub's cache ${settings.cacheFolder}, expected one of them, since HF_HUB_OFFLINE keeps the network out`,
      `Where the network is: hf download ${name.repo}${name.revision === undefined ? "" : ` --revision ${name.revision}`}, with the same HF_HOME`,
    );
  }
  // What speaks to the network is loaded where it is needed.
  const { fetchSnapshot } = await import("./fetch-snapshot.js");
  try {
    return await fetchSnapshot(name, settings, {
      ...{ purpose, ui, environment },
      // The model is there, and what may be added to it is not worth a long wait.
      network: cached ? { ...network, attempts: 2 } : network,
    });
  } catch (error) {
    if (!cached || !(error instanceof UserError)) throw error;
    ui.warn(
      `${error.message}; going on with what the cache has of ${name.repo}, which is without a ${tokenizerFile}`,
    );
    return cached.folder;
  }
};

const wantedOf: Readonly<Record<HubPurpose, string>> = {
  model: "its model",
  tokenizer: "its tokenizer.json",
  trained: "its adapter or model",
};
