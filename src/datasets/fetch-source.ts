import { readFile, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readTar, readZip, type ArchiveEntry } from "../core/archive.js";
import { syncFolder, writeFileAtomically } from "../core/atomic-file.js";
import { download, partPath, removePart, type DownloadOptions } from "../core/download.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import type { Environment } from "../core/request.js";
import { gitBlobOf, hashFile, type FileHash } from "../core/file-hash.js";
import { findStandIn } from "../core/stand-in.js";
import { dailydialogJsonLines } from "./dailydialog-text.js";
import {
  basisWords,
  type DataSource,
  type HashBasis,
  type KnownHash,
  type SourceFile,
  type SourceMember,
} from "./source.js";
import {
  addToSourceRecord,
  readSourceRecord,
  recordPath,
  type SourceRecord,
} from "./source-record.js";

/**
 * What a file was checked against: a hash of the table, the record of an earlier fetch, the person's word, or nothing, since it
 * came for the first time.
 */
export type Check = HashBasis | "recorded" | "accepted" | "first";

/** One file as it lies there now. */
export interface FetchedFile {
  /** Under the data root. */
  readonly path: string;
  /** "there": it was there before. */
  readonly state: "fetched" | "there";
  readonly bytes: number;
  readonly sha256: string;
  /** undefined: it was there, and nothing is known of it. */
  readonly check: Check | undefined;
}

/** Where a data set's files go, where they come from, and which content is accepted. */
export interface FetchOptions {
  /** The data root; made where it is missing. */
  readonly root: string;
  /** Whether files of other content may be replaced. */
  readonly overwrite?: boolean;
  /** An address under which the publishers' hosts lie as folders. */
  readonly mirror?: string | undefined;
  /** Hashes that the person stands for. */
  readonly accepted?: ReadonlySet<string>;
  readonly environment?: Environment;
  /** Of the network. */
  readonly network?: Pick<DownloadOptions, "attempts" | "waitMs" | "silenceMs" | "freeBytes">;
  /** Called before a file is fetched; what it gives is called with bytes that have come, and at the end. */
  readonly onFile?: (file: SourceFile) => {
    readonly progress: NonNullable<DownloadOptions["onProgress"]>;
    readonly done: () => void;
  };
  readonly onRetry?: NonNullable<DownloadOptions["onRetry"]>;
}

/** The files of a data set that are in place now, and those that are not. */
export interface Fetched {
  readonly files: readonly FetchedFile[];
  /** Paths under the root that are still missing: they have to be unpacked by hand. */
  readonly missing: readonly string[];
}

/** The address that is asked: the publisher's, one below a mirror, or for the Hub what HF_ENDPOINT says. */
export const addressOf = (
  url: string,
  {
    mirror,
    environment = {},
  }: { readonly mirror?: string | undefined; readonly environment?: Environment },
): string => {
  const { host, pathname } = new URL(url);
  if (mirror !== undefined) return `${mirror.replace(/\/+$/, "")}/${host}${pathname}`;
  const hub = environment["HF_ENDPOINT"];
  return hub && host === "huggingface.co" ? `${hub.replace(/\/+$/, "")}${pathname}` : url;
};

const matches = async (path: string, found: FileHash, known: KnownHash): Promise<boolean> => {
  if (known.sha256 !== undefined) return found.sha256 === known.sha256;
  return (await gitBlobOf(path)) === known.gitBlob;
};

/** What a file that lies in its place turns out to be. */
interface Lying {
  readonly path: string;
  readonly is: "missing" | "right" | "unknown" | "other";
  readonly found?: FileHash;
  readonly check?: Check;
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

const lookAt = async (
  root: string,
  { path, known }: { readonly path: string; readonly known: KnownHash | undefined },
  {
    record,
    accepted,
  }: { readonly record: SourceRecord; readonly accepted: ReadonlySet<string> | undefined },
): Promise<Lying> => {
  const full = join(root, path);
  if (!(await isThere(full))) return { path, is: "missing" };
  const found = await hashFile(full);
  if (accepted?.has(found.sha256)) return { path, is: "right", found, check: "accepted" };
  if (known !== undefined && (await matches(full, found, known)))
    return { path, is: "right", found, check: known.basis };
  const recorded = record[path];
  if (recorded?.sha256 === found.sha256) return { path, is: "right", found, check: "recorded" };
  return { path, is: known === undefined && recorded === undefined ? "unknown" : "other", found };
};

/** What a file leaves: its members, or itself. */
const targetsOf = (
  file: SourceFile,
): readonly { readonly path: string; readonly known: KnownHash | undefined }[] =>
  file.members?.map(({ path, hash }) => ({
    path,
    // A converted member is no longer what its hash is of: the record knows it.
    known: file.conversion === undefined ? hash : undefined,
  })) ?? [{ path: file.path, known: file.hash }];

/** What a file is, and what it was checked against; or what is wrong with it. */
type Checked =
  | { readonly found: FileHash; readonly check: Check }
  | { readonly found: FileHash; readonly fault: string; readonly hint: string };

const checkHash = async (
  path: string,
  {
    known,
    recorded,
  }: { readonly known: KnownHash | undefined; readonly recorded: string | undefined },
  { root, accepted }: Pick<FetchOptions, "root" | "accepted">,
): Promise<Checked> => {
  const found = await hashFile(path);
  if (accepted?.has(found.sha256)) return { found, check: "accepted" };
  const accept = `--accept_sha256=${found.sha256} takes this very file`;
  const fault = (expected: string): string => `found SHA-256 ${found.sha256}, expected ${expected}`;
  if (known !== undefined) {
    if (await matches(path, found, known)) return { found, check: known.basis };
    return {
      found,
      fault: fault(
        `${known.sha256 ?? `git's blob ${known.gitBlob ?? ""}`} (${basisWords[known.basis]})`,
      ),
      hint:
        known.basis === "bytes" || known.basis === "tree"
          ? `It has changed at its publisher, or on its way: try again, or from another network. If you know why, ${accept}`
          : `The publisher's file itself was not at hand when that was written down: if a second source has the same, ${accept}`,
    };
  }
  if (recorded === undefined) return { found, check: "first" };
  if (recorded === found.sha256) return { found, check: "recorded" };
  return {
    found,
    fault: fault(`${recorded} as when it first came (${recordPath(root)})`),
    hint: `It has changed at its publisher, or on its way. If you know why, ${accept}`,
  };
};

/** Gets a file into its part, and checks it there. One that was put together over several starts is fetched once more before it is refused. */
const fetchChecked = async (
  file: SourceFile,
  record: SourceRecord,
  options: FetchOptions,
): Promise<{ readonly found: FileHash; readonly check: Check }> => {
  const { root, network, environment, mirror, onRetry } = options;
  const path = join(root, file.path);
  const url = addressOf(file.url, { mirror, ...(environment && { environment }) });
  const recorded = record[file.path]?.url === file.url ? record[file.path]?.sha256 : undefined;
  for (let mayRepeat = true; ; mayRepeat = false) {
    const shown = options.onFile?.(file);
    let resumed: boolean;
    try {
      const { resumedAt } = await download(url, path, {
        ...network,
        ...(environment && { environment }),
        ...(onRetry && { onRetry }),
        ...(shown && { onProgress: shown.progress }),
        bytes: file.bytes,
        isVerified: file.hash !== undefined || recorded !== undefined,
      });
      resumed = resumedAt > 0;
    } finally {
      shown?.done();
    }
    const checked = await checkHash(partPath(path), { known: file.hash, recorded }, options);
    if ("check" in checked && checked.check !== "first") return checked;
    const standIn = await findStandIn(partPath(path));
    if (standIn === undefined && "check" in checked) return checked;
    await removePart(path);
    if (mayRepeat && resumed) continue;
    throw standIn === undefined && "fault" in checked
      ? new UserError(`Cannot take ${url}: ${checked.fault}`, checked.hint)
      : new UserError(
          `Cannot take ${url}: ${/found .*?(?=, expected)/.exec(standIn?.message ?? "")?.[0] ?? ""}, expected the file itself`,
          "A proxy or a sign-in page may stand between: open the address in a browser",
        );
  }
};

const entryOf = (
  entries: readonly ArchiveEntry[],
  { from }: SourceMember,
  where: string,
): ArchiveEntry => {
  const found = entries.filter(({ name }) => name === from || name.endsWith(`/${from}`));
  const [entry] = found;
  if (entry !== undefined && found.length === 1) return entry;
  throw new UserError(
    `Cannot unpack ${where}: found ${found.length === 0 ? "no" : String(found.length)} ${from} in it, expected one`,
    "The publisher has changed the archive: unpack it by hand",
  );
};

/** The files of an archive; a damaged one is not kept, or the next start would go on with it. */
const entriesOf = async (file: SourceFile, path: string): Promise<readonly ArchiveEntry[]> => {
  try {
    const bytes = await readFile(partPath(path));
    return file.archive === "tar" ? readTar(bytes, file.url) : readZip(bytes, file.url);
  } catch (error) {
    await removePart(path);
    throw error;
  }
};

/** Takes members out of a part, checks each beside its place, and puts them there where all are right. */
const unpackMembers = async (
  file: SourceFile,
  members: readonly SourceMember[],
  check: Check,
  options: FetchOptions,
): Promise<readonly FetchedFile[]> => {
  const { root } = options;
  const entries = await entriesOf(file, join(root, file.path));
  const faults: string[] = [];
  const hints = new Set<string>();
  const right: {
    readonly member: SourceMember;
    readonly content: Buffer;
    readonly check: Check;
  }[] = [];
  try {
    for (const member of members) {
      const content = entryOf(entries, member, file.url).read();
      const beside = partPath(join(root, member.path));
      await writeFileAtomically(beside, content);
      // Who stands for an archive stands for what is in it.
      const known = check === "accepted" ? undefined : member.hash;
      const checked = await checkHash(beside, { known, recorded: undefined }, options);
      if ("fault" in checked) {
        faults.push(`${member.from}: ${checked.fault}`);
        hints.add(checked.hint);
      } else right.push({ member, content, check: known === undefined ? check : checked.check });
    }
    if (faults.length > 0)
      throw userErrorOfFaults(`Cannot take what is in ${file.url}`, faults, [...hints].join("\n"));
    const out: FetchedFile[] = [];
    for (const { member, content, check: checked } of right) {
      const path = join(root, member.path);
      if (file.conversion === "dailydialog")
        await writeFileAtomically(
          path,
          dailydialogJsonLines(content, `${file.url}, ${member.from}`),
        );
      else await rename(partPath(path), path);
      out.push({ path: member.path, state: "fetched", ...(await hashFile(path)), check: checked });
    }
    return out;
  } finally {
    for (const { path } of members) await removePart(join(root, path));
  }
};

/**
 * Gets what is missing of a data set, checks it, and puts it where `--dataset` reads it.
 *
 * A file stands in its place only when it is whole and right. What comes is recorded in `hira-sources.json` of the root: a file
 * whose hash nobody knows is taken the first time, and has to be the same ever after.
 * @throws {UserError} if other files are in the way, the network or the disk fails, or a file is not what it should be
 */
export const fetchSource = async (source: DataSource, options: FetchOptions): Promise<Fetched> => {
  const { root, overwrite = false, accepted } = options;
  const record = await readSourceRecord(root);
  const plans: { readonly file: SourceFile; readonly lying: readonly Lying[] }[] = [];
  for (const file of source.files) {
    const lying: Lying[] = [];
    for (const target of targetsOf(file))
      lying.push(await lookAt(root, target, { record, accepted }));
    plans.push({ file, lying });
  }
  const inTheWay = plans.flatMap(({ lying }) => lying.filter(({ is }) => is === "other"));
  if (inTheWay.length > 0 && !overwrite)
    throw userErrorOfFaults(
      "Cannot fetch over these files",
      inTheWay.map(
        ({ path, found }) =>
          `${join(root, path)}: found a file of SHA-256 ${found?.sha256 ?? ""}, expected none or the publisher's`,
      ),
      "Move them away, choose another --data_dir, or replace them with --overwrite",
    );
  const files: FetchedFile[] = [];
  const missing: string[] = [];
  for (const { file, lying } of plans) {
    const wants = lying.filter(({ is }) => is === "missing" || is === "other");
    files.push(
      ...lying.flatMap(({ path, is, found, check }): readonly FetchedFile[] =>
        is === "right" || is === "unknown"
          ? [{ path, state: "there", bytes: found?.bytes ?? 0, sha256: found?.sha256 ?? "", check }]
          : [],
      ),
    );
    if (wants.length === 0) continue;
    const path = join(root, file.path);
    const packed =
      file.archive === "by hand"
        ? await lookAt(root, { path: file.path, known: file.hash }, { record, accepted })
        : undefined;
    if (packed !== undefined) missing.push(...wants.map((want) => want.path));
    if (packed?.is === "right") continue;
    const { found, check } = await fetchChecked(file, record, options);
    const fetched = new Date().toISOString();
    const archive = { [file.path]: { url: file.url, ...found, fetched } };
    if (file.members === undefined || packed !== undefined) {
      await rename(partPath(path), path);
      await removePart(path);
      await syncFolder(dirname(path));
      files.push({ path: file.path, state: "fetched", ...found, check });
      await addToSourceRecord(root, archive);
      continue;
    }
    const wanted = new Set(wants.map((want) => want.path));
    const members = file.members.filter((member) => wanted.has(member.path));
    const unpacked = await unpackMembers(file, members, check, options);
    await removePart(path);
    files.push(...unpacked);
    await addToSourceRecord(root, {
      ...archive,
      ...Object.fromEntries(
        unpacked.map(({ path: member, bytes, sha256 }) => [
          member,
          { url: file.url, bytes, sha256, fetched },
        ]),
      ),
    });
  }
  return { files, missing };
};
