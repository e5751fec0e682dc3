import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../core/errors.js";
import { addressOf } from "./ort/c-api.js";
import { cLibrary } from "./ort/library.js";

const protectRead = 1;
const protectWrite = 2;
const mapShared = 1;
const mapPrivate = 2;
// Without a reservation a file larger than the memory may be mapped; the constant is the kernel's.
const mapNoReserve = process.platform === "darwin" ? 0x40 : 0x4000;

interface Memory {
  readonly address: bigint;
  /** What holds the memory where it is not mapped. */
  readonly array: Uint8Array | undefined;
}

interface Mapping {
  readonly address: bigint;
  readonly byteLength: number;
}

const unmap = ({ address, byteLength }: Mapping): void => {
  cLibrary().func("munmap", "int", ["void *", "size_t"])(address, byteLength);
};
const mappings = new FinalizationRegistry(unmap);

/** Maps the whole of an open file, or undefined where the system has no mmap or refuses. */
const map = (descriptor: number, byteLength: number, share: number): Memory | undefined => {
  if (process.platform === "win32") return undefined;
  const mmap = cLibrary().func("mmap", "intptr_t", [
    "void *",
    "size_t",
    "int",
    "int",
    "int",
    "int64_t",
  ]);
  const flags = share | mapNoReserve;
  const address = BigInt(
    mmap(null, byteLength, protectRead | protectWrite, flags, descriptor, 0) as number | bigint,
  );
  return address === -1n ? undefined : { address, array: undefined };
};

const read = (descriptor: number, byteLength: number): Memory => {
  const array = new Uint8Array(byteLength);
  // One read returns at most 2 GiB.
  for (let at = 0; at < byteLength;) {
    const count = readSync(descriptor, array, at, Math.min(byteLength - at, 1 << 30), at);
    if (count === 0) throw new RangeError(`Cannot read ${byteLength} bytes: found ${at}`);
    at += count;
  }
  return { address: addressOf(array), array };
};

/** Writes zeros, so that the disk has the room: a page without it would end the process with SIGBUS when it is written. */
const fillWithZeros = (descriptor: number, byteLength: number): void => {
  const zeros = new Uint8Array(Math.min(byteLength, 1 << 22));
  for (let at = 0; at < byteLength;)
    at += writeSync(descriptor, zeros, 0, Math.min(zeros.length, byteLength - at), at);
};

/** Gives the address of a mapped file to the tensors over it; not for other rooms. */
export let mappedMemory: (file: MappedFile) => Mapping;

/**
 * A file as memory: pages are read when they are touched, shared with other processes, and dropped under pressure.
 *
 * A page that is written to becomes private to this process; the file never changes, unless it is one of `scratch`. Tensors
 * over the file keep it mapped; it is unmapped once it and they are collected. Cutting the file short meanwhile ends the
 * process with SIGBUS, as it does for every program that maps files: write beside and rename instead.
 *
 * Where there is no mmap (Windows), or it refuses, the file is read into an array instead. Checked on Linux; macOS
 * uses the same call with its own constant and is untested.
 */
export class MappedFile {
  readonly path: string;
  readonly byteLength: number;
  /** Whether the file is mapped; false where it was read into an array. */
  readonly mapped: boolean;
  readonly #memory: Memory;

  static {
    mappedMemory = (file) => ({ address: file.#memory.address, byteLength: file.byteLength });
  }

  private constructor(path: string, byteLength: number, memory: Memory) {
    this.path = path;
    this.byteLength = byteLength;
    this.mapped = memory.array === undefined;
    this.#memory = memory;
    if (this.mapped) mappings.register(this, { address: memory.address, byteLength });
  }

  /**
   * Maps the file at `path`; links are followed. `copy: true` reads it into an array instead.
   *
   * @throws the system's error if the file cannot be opened; RangeError if it is empty
   */
  static open(path: string, { copy = false }: { readonly copy?: boolean } = {}): MappedFile {
    const descriptor = openSync(path, "r");
    try {
      const byteLength = fstatSync(descriptor).size;
      if (byteLength === 0)
        throw new RangeError(`Cannot map ${path}: found 0 bytes, expected at least 1`);
      const memory =
        (copy ? undefined : map(descriptor, byteLength, mapPrivate)) ??
        read(descriptor, byteLength);
      return new MappedFile(path, byteLength, memory);
    } finally {
      closeSync(descriptor);
    }
  }

  /**
   * Zeros to be written to, in a file of `folder` that has no name any more: the system can move their pages to the disk when
   * memory is short, and the file goes with the process, however that ends.
   *
   * @throws {UserError} if the folder cannot be written, has no room, or the system cannot map files (Windows)
   */
  static scratch(folder: string, byteLength: number): MappedFile {
    const refuse = (found: string): UserError =>
      new UserError(
        `Cannot map ${String(byteLength)} bytes in ${folder}: found ${found}, expected a folder whose files can be mapped`,
        "Choose a folder on another disk, or an optimizer that keeps its state in memory",
      );
    let own: string | undefined;
    let descriptor: number | undefined;
    try {
      own = mkdtempSync(join(folder, ".scratch-"));
      descriptor = openSync(join(own, "pages"), "wx+");
      rmSync(own, { recursive: true, force: true });
      fillWithZeros(descriptor, byteLength);
      const memory = map(descriptor, byteLength, mapShared);
      if (!memory) throw refuse("a system that does not map files");
      return new MappedFile(join(own, "pages"), byteLength, memory);
    } catch (error) {
      if (own !== undefined) rmSync(own, { recursive: true, force: true });
      throw error instanceof UserError ? error : refuse(messageOf(error).replace(/^found /, ""));
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }
}
