/** What a worker sends back for one list of texts. */
export interface EncodedChunk {
  readonly ids: Int32Array;
  readonly lengths: Uint32Array;
}

/** Token ids of many texts in one block of memory: 4 bytes a token, where an array of arrays takes 8 and more. */
export class TokenTable {
  private constructor(
    private readonly ids: Int32Array,
    /** Text i has ids[starts[i]..starts[i + 1]). */
    private readonly starts: Uint32Array,
  ) {}

  static fromLengths(ids: Int32Array, lengths: Uint32Array): TokenTable {
    const starts = new Uint32Array(lengths.length + 1);
    let end = 0;
    for (const [i, length] of lengths.entries()) {
      end += length;
      starts[i + 1] = end;
    }
    if (end !== ids.length)
      throw new RangeError(`lengths add up to ${String(end)}, found ${String(ids.length)} ids`);
    return new TokenTable(ids, starts);
  }

  static fromLists(lists: readonly (readonly number[])[]): TokenTable {
    const lengths = Uint32Array.from(lists, (list) => list.length);
    const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
    let at = 0;
    for (const list of lists) {
      ids.set(list, at);
      at += list.length;
    }
    return TokenTable.fromLengths(ids, lengths);
  }

  /** The tables one behind the other. */
  static concatenate(tables: readonly TokenTable[]): TokenTable {
    const ids = new Int32Array(tables.reduce((sum, table) => sum + table.tokens, 0));
    const lengths = new Uint32Array(tables.reduce((sum, table) => sum + table.length, 0));
    let [idAt, textAt] = [0, 0];
    for (const table of tables) {
      ids.set(table.ids, idAt);
      lengths.set(table.lengths(), textAt);
      idAt += table.tokens;
      textAt += table.length;
    }
    return TokenTable.fromLengths(ids, lengths);
  }

  /** Texts. */
  get length(): number {
    return this.starts.length - 1;
  }

  /** Ids of all texts together. */
  get tokens(): number {
    return this.ids.length;
  }

  lengths(): Uint32Array {
    return this.starts.subarray(1).map((end, i) => end - (this.starts[i] ?? 0));
  }

  /** All ids, text after text. */
  allIds(): Int32Array {
    return this.ids;
  }

  /** The ids of text `index`: a view, not a copy. */
  at(index: number): Int32Array {
    if (!(index >= 0 && index < this.length))
      throw new RangeError(`found text ${String(index)}, expected one of ${String(this.length)}`);
    return this.ids.subarray(this.starts[index], this.starts[index + 1]);
  }
}
