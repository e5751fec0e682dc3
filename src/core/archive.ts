import { gunzipSync, inflateRawSync } from "node:zlib";
import { UserError } from "./errors.js";

/** One file of an archive. */
export interface ArchiveEntry {
  /** As the archive has it, with forward slashes. */
  readonly name: string;
  /** Its content, unpacked. @throws {UserError} if it is damaged, or packed in a way that is not known */
  read(): Buffer;
}

/** No file of a data set is larger; what claims to be is damaged, or meant to fill the memory. */
const largest = 2 ** 31;

const damaged = (where: string, found: string): UserError =>
  new UserError(
    `Cannot unpack ${where}: ${found}`,
    "Fetch the file again: it was cut off, or changed on its way",
  );

const unpack = (where: string, inflate: () => Buffer): Buffer => {
  try {
    return inflate();
  } catch {
    throw damaged(where, "found damaged data, expected a packed file");
  }
};

const endSignature = 0x06054b50;
const centralSignature = 0x02014b50;
const localSignature = 0x04034b50;

/**
 * The files of a zip archive, in the order of its directory; folders are left out.
 *
 * Stored and deflated files are read, zip64 and encryption are not: no data set here has them.
 * Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
 * @param where names the archive in errors
 * @throws {UserError} if it is no zip archive, or has no whole directory
 */
export const readZip = (bytes: Buffer, where: string): readonly ArchiveEntry[] => {
  // The record stands at the end, with a comment of at most 65,535 bytes behind it.
  let end = bytes.length - 22;
  while (end >= 0 && end >= bytes.length - 22 - 0xffff && bytes.readUInt32LE(end) !== endSignature)
    end--;
  if (end < 0 || bytes.readUInt32LE(end) !== endSignature)
    throw damaged(where, "found no directory at its end, expected a zip archive");
  const entries: ArchiveEntry[] = [];
  let at = bytes.readUInt32LE(end + 16);
  for (let i = 0; i < bytes.readUInt16LE(end + 10); i++) {
    if (at + 46 > end || bytes.readUInt32LE(at) !== centralSignature)
      throw damaged(where, `found no entry ${String(i + 1)} in its directory, expected one`);
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) =>
      bytes.readUInt16LE(at + offset),
    ) as [number, number, number];
    const header = {
      flags: bytes.readUInt16LE(at + 8),
      method: bytes.readUInt16LE(at + 10),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      local: bytes.readUInt32LE(at + 42),
    };
    const name = bytes.toString("utf8", at + 46, at + 46 + nameLength);
    if (!name.endsWith("/"))
      entries.push({ name, read: () => readZipEntry(bytes, `${where}, ${name}`, header) });
    at += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
};

const readZipEntry = (
  bytes: Buffer,
  where: string,
  {
    flags,
    method,
    packed,
    size,
    local,
  }: Readonly<Record<"flags" | "method" | "packed" | "size" | "local", number>>,
): Buffer => {
  if ((flags & 1) !== 0) throw damaged(where, "found an encrypted file, expected a plain one");
  if (size > largest || local + 30 > bytes.length || bytes.readUInt32LE(local) !== localSignature)
    throw damaged(where, "found no file where the directory points, expected one");
  const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const data = bytes.subarray(start, start + packed);
  const content =
    method === 0
      ? data
      : method === 8
        ? unpack(where, () => inflateRawSync(data, { maxOutputLength: size + 1 }))
        : undefined;
  if (content === undefined)
    throw damaged(where, `found packing method ${String(method)}, expected 0 or 8`);
  if (content.length !== size)
    throw damaged(
      where,
      `found ${String(content.length)} bytes, expected ${String(size)} as its directory says`,
    );
  return content;
};

const blockBytes = 512;

/** A field of a tar header up to its first NUL. */
const textField = (header: Buffer, start: number, length: number): string => {
  const field = header.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
};

/** The sum of a header's bytes, those of the sum itself counted as blanks. */
const checksumOf = (header: Buffer): number =>
  header.reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 0x20 : byte), 0);

/**
 * The plain files of a tar archive, gzip or not, in its order.
 *
 * Names of the ustar form, and GNU's and pax's longer ones.
 * Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format".
 * @param where names the archive in errors
 * @throws {UserError} if it is no tar archive, or is cut off
 */
export const readTar = (stored: Buffer, where: string): readonly ArchiveEntry[] => {
  const isPacked = stored[0] === 0x1f && stored[1] === 0x8b;
  const bytes = isPacked
    ? unpack(where, () => gunzipSync(stored, { maxOutputLength: largest }))
    : stored;
  const entries: ArchiveEntry[] = [];
  let longName: string | undefined;
  let at = 0;
  while (at + blockBytes <= bytes.length && bytes[at] !== 0) {
    const header = bytes.subarray(at, at + blockBytes);
    if (parseInt(textField(header, 148, 8).trim(), 8) !== checksumOf(header))
      throw damaged(where, `found no header at byte ${String(at)}, expected a tar archive`);
    const size = parseInt(textField(header, 124, 12).trim(), 8);
    const start = at + blockBytes;
    if (!Number.isSafeInteger(size) || start + size > bytes.length)
      throw damaged(where, "found it cut off, expected a whole tar archive");
    const content = bytes.subarray(start, start + size);
    const type = String.fromCharCode(header[156] ?? 0);
    const prefix = textField(header, 345, 155);
    const shortName = textField(header, 0, 100);
    if (type === "L") longName = content.toString("utf8").replace(/\0.*$/s, "");
    else if (type === "x")
      longName = /^\d+ path=(.*)$/m.exec(content.toString("utf8"))?.[1] ?? longName;
    else {
      const name = longName ?? (prefix === "" ? shortName : `${prefix}/${shortName}`);
      if (type === "0" || type === "\0") entries.push({ name, read: () => content });
      longName = undefined;
    }
    at = start + Math.ceil(size / blockBytes) * blockBytes;
  }
  if (entries.length === 0) throw damaged(where, "found no files, expected a tar archive");
  return entries;
};
