import { readSync } from "node:fs";

/** A file that ends, or says of itself what cannot be: where, what was found there, what was expected. */
export class FormatFault extends Error {
  constructor(
    readonly found: string,
    readonly expected: string,
  ) {
    super(`found ${found}, expected ${expected}`);
  }
}

const windowBytes = 1 << 20;

/**
 * Little-endian values of an open file, from its begin on; no more than a window of it is in memory.
 *
 * Every read checks that the file holds so much: nothing is allocated for a length that it only claims.
 */
export class ByteCursor {
  position = 0;
  readonly size: number;
  readonly #descriptor: number;
  #window = Buffer.alloc(0);
  #windowStart = 0;

  constructor(descriptor: number, size: number) {
    this.#descriptor = descriptor;
    this.size = size;
  }

  /** Bytes between here and the end of the file. */
  get rest(): number {
    return this.size - this.position;
  }

  /** The next bytes, which are valid until the next read. @throws {FormatFault} where the file ends before */
  take(byteLength: number, what: string): Buffer {
    if (byteLength > this.rest)
      throw new FormatFault(
        `the end of the file at byte ${String(this.size)}`,
        `${what} of ${String(byteLength)} bytes from byte ${String(this.position)} on`,
      );
    const start = this.position - this.#windowStart;
    if (start + byteLength > this.#window.length) {
      const length = Math.min(this.rest, Math.max(byteLength, windowBytes));
      const window = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const count = readSync(
          this.#descriptor,
          window,
          filled,
          length - filled,
          this.position + filled,
        );
        if (count === 0)
          throw new FormatFault(
            `the end of the file at byte ${String(this.position + filled)}`,
            `its ${String(this.size)} bytes: somebody else is changing it`,
          );
        filled += count;
      }
      this.#window = window;
      this.#windowStart = this.position;
    }
    const at = this.position - this.#windowStart;
    this.position += byteLength;
    return this.#window.subarray(at, at + byteLength);
  }

  uint32(what: string): number {
    return this.take(4, what).readUInt32LE();
  }

  /** A whole number that a double holds. @throws {FormatFault} on a larger one */
  size64(what: string): number {
    const value = this.take(8, what).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw new FormatFault(`${what} of ${String(value)}`, "one that a file can have");
    return Number(value);
  }

  /**
   * How many things follow, each of `leastBytes` or more.
   *
   * @throws {FormatFault} if the rest of the file cannot hold so many
   */
  count(what: string, leastBytes: number): number {
    const at = this.position;
    const count = this.size64(what);
    const most = Math.floor(this.rest / leastBytes);
    if (count > most)
      throw new FormatFault(
        `${what} of ${String(count)} at byte ${String(at)}`,
        `at most ${String(most)}, which is what the rest of the file can hold`,
      );
    return count;
  }
}
