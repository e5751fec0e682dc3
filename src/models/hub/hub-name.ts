/** A model's or an adapter's repository on the Hub. */
export interface HubName {
  /** `org/name`; of old models `name` alone. */
  readonly repo: string;
  /** A branch, a tag or a commit; undefined: main. */
  readonly revision: string | undefined;
}

const isRepoPart = (part: string): boolean =>
  /^\w(?:[\w.-]*\w)?$/.test(part) &&
  part.length <= 96 &&
  !/--|\.\./.test(part) &&
  !part.endsWith(".git");

/** It becomes a path below the cache's refs: no part of it may lead out of there. */
const isRevision = (text: string): boolean =>
  text.split("/").every((part) => /^[\w+-][\w.+-]*$/.test(part) && !part.includes(".."));

/**
 * `org/name` or `org/name@revision`, which may be a folder's path as well: that is for the caller to look at first. Undefined
 * for what can be a path alone.
 *
 * Source: validate_repo_id of huggingface_hub 2.4.
 */
export const parseHubName = (text: string): HubName | undefined => {
  const [, repo = "", revision] = /^([^@]+)(?:@(.+))?$/.exec(text) ?? [];
  const parts = repo.split("/");
  if (parts.length > 2 || !parts.every(isRepoPart)) return undefined;
  if (revision !== undefined && !isRevision(revision)) return undefined;
  return { repo, revision };
};

/** The name as a person writes it. */
export const hubNameText = ({ repo, revision }: HubName): string =>
  revision === undefined ? repo : `${repo}@${revision}`;

const snapshotPath = /(?:^|[/\\])models--([^/\\]+)[/\\]snapshots[/\\]([^/\\]+)[/\\]?$/;

/** The repository and commit of a snapshot's folder in the Hub's cache; undefined for any other path. */
export const hubNameOfSnapshot = (path: string): HubName | undefined => {
  const [, folder, commit] = snapshotPath.exec(path) ?? [];
  return folder === undefined ? undefined : { repo: folder.replace("--", "/"), revision: commit };
};
