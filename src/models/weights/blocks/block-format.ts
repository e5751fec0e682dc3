import type { Dim } from "../../../core/dim.js";
import { float32FromFloat16 } from "../../../core/half.js";
import type { Graph } from "../../../graph/graph.js";
import type { Value } from "../../../graph/op.js";

/**
 * One of ggml's block formats: so many elements of a row in so many bytes, float16 scales among them.
 *
 * Both functions are one formula, and give the same bits.
 */
export interface BlockFormat {
  readonly name: string;
  /** Elements. */
  readonly size: number;
  /** Even in every format, so that a block's float16 numbers stand in a table of their own. */
  readonly bytes: number;
  /** Whether some of its bytes are signed. */
  readonly signed: boolean;
  /** Writes a block's elements from out[at] on. */
  unpack(block: BlockBytes, out: Float32Array, at: number): void;
  /** All elements, float32 [..., size] or any shape with as many elements in this order. */
  inGraph(blocks: BlockValues): Value;
}

/** The bytes of blocks that follow one another, read a block at a time. */
export class BlockBytes {
  /** Where the block begins. */
  start = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(at: number): number {
    return this.#bytes[this.start + at] as number;
  }

  signed(at: number): number {
    return (this.byte(at) << 24) >> 24;
  }

  /** A float16 number. */
  half(at: number): number {
    return float32FromFloat16(this.byte(at) | (this.byte(at + 1) << 8));
  }
}

/** The same bytes in a graph: [...lead, bytes of a block], `lead` being the axes of the table with the blocks of a row last. */
export class BlockValues {
  readonly g: Graph;
  readonly lead: readonly Dim[];
  readonly #halves: Value;
  readonly #bytes: Value;
  readonly #codes: Value | undefined;

  constructor(
    g: Graph,
    { halves, bytes, codes }: Record<"halves" | "bytes", Value> & { codes: Value | undefined },
  ) {
    this.g = g;
    this.lead = halves.shape.slice(0, -1);
    this.#halves = halves;
    this.#bytes = bytes;
    this.#codes = codes;
  }

  /** The float16 number at a byte, as float32 [...lead, 1]. */
  half(at: number): Value {
    return this.g.cast(this.#last(this.#halves, at / 2, at / 2 + 1), "float32");
  }

  /** uint8 [...lead, end - start] */
  bytes(start: number, end: number): Value {
    return this.#last(this.#bytes, start, end);
  }

  /** int8 [...lead, end - start] */
  codes(start: number, end: number): Value {
    if (!this.#codes) throw new RangeError("Cannot read signed bytes: the format says it has none");
    return this.#last(this.#codes, start, end);
  }

  /** x with its axes behind `lead` replaced. */
  reshape(x: Value, ...tail: readonly number[]): Value {
    return this.g.reshape(x, [...this.lead, ...tail]);
  }

  float(x: Value): Value {
    return this.g.cast(x, "float32");
  }

  /** x + number. */
  plus(x: Value, number: number): Value {
    return this.g.add(x, this.g.scalar(number, "float32"));
  }

  or(a: Value, b: Value): Value {
    return this.g.bitwiseOr(a, b);
  }

  left(x: Value, places: number): Value {
    return this.g.shiftLeft(x, this.g.scalar(places, "uint8"));
  }

  right(x: Value, places: number): Value {
    return places === 0 ? x : this.g.shiftRight(x, this.g.scalar(places, "uint8"));
  }

  mask(x: Value, bits: number): Value {
    return this.g.bitwiseAnd(x, this.g.scalar(bits, "uint8"));
  }

  /**
   * The fields of `width` bits that every byte consists of, lowest first: each field of all bytes of the last axis, then the
   * next field. x uint8 [...lead, groups, n], result [...lead, groups, 8 / width * n].
   */
  fields(x: Value, width: number): Value {
    const count = 8 / width;
    const pieces = Array.from({ length: count }, (_, i) => {
      const moved = this.right(x, i * width);
      return i === count - 1 ? moved : this.mask(moved, 2 ** width - 1);
    });
    return this.g.concat(pieces, x.shape.length - 1);
  }

  #last(x: Value, start: number, end: number): Value {
    return this.g.slice(x, { axis: x.shape.length - 1, start, end });
  }
}
