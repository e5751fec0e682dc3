/**
 * How a hash in this table is known.
 *
 * - `bytes`: reckoned from the publisher's own file
 * - `tree`: the blob id that the publisher's git tree has for it; the file itself was not at hand
 * - `told`: what the publisher or others write; reckoned by nobody here
 * - `copy`: reckoned from somebody else's copy; that the publisher's file is the same is not certain
 */
export type HashBasis = "bytes" | "tree" | "told" | "copy";

/** What a file is checked against. */
export interface KnownHash {
  /** 64 hexadecimal digits. */
  readonly sha256?: string;
  /** Git's id of a blob: SHA-1 of `blob <bytes>\0` and the content, 40 hexadecimal digits. */
  readonly gitBlob?: string;
  readonly basis: HashBasis;
}

/** How a file that came is turned into what is kept. */
export type Conversion = "dailydialog";

/** A file inside an archive. */
export interface SourceMember {
  /** The end of its name in the archive. */
  readonly from: string;
  /** Where it is put, under the data root. */
  readonly path: string;
  /** Of the member as it stands in the archive; without one it is recorded when it first comes. */
  readonly hash?: KnownHash;
}

/** A file that is fetched. */
export interface SourceFile {
  readonly url: string;
  /** Where it is put, under the data root; an archive stands there until its members are out. */
  readonly path: string;
  readonly bytes?: number;
  /** Without one it is recorded when it first comes, and held against it ever after. */
  readonly hash?: KnownHash;
  /** How its members are got out; "by hand" where this program cannot. */
  readonly archive?: "zip" | "tar" | "by hand";
  readonly members?: readonly SourceMember[];
  readonly conversion?: Conversion;
}

/** The terms of a data set, in short. Not legal advice: `url` has the text. */
export interface Licence {
  /** Short enough for a table. */
  readonly name: string;
  readonly url?: string;
  /** What it forbids or asks for, in words; undefined where nothing but naming the authors. */
  readonly forbids?: string;
  /** Whether its text, or the publisher's statement of it, was read for this table; else it is from general knowledge. */
  readonly isRead: boolean;
}

/** Where a data set comes from. */
export interface DataSource {
  readonly title: string;
  /** The publisher's page. */
  readonly page: string;
  readonly licence: Licence;
  readonly files: readonly SourceFile[];
  /** What has to be done besides, in whole sentences. */
  readonly byHand?: string;
}

/** How a hash is known, in words. */
export const basisWords: Readonly<Record<HashBasis | "none", string>> = {
  bytes: "reckoned from the publisher's file",
  tree: "the publisher's git tree has it",
  told: "as published by others, not reckoned here",
  copy: "reckoned from somebody's copy",
  none: "not known: recorded when it first comes",
};
