import { enterNative, leaveNative } from "../exit-hook.js";
import { loadMpi, type MpiFamily, type MpiLibrary } from "./library.js";

/** Elements that an MPI reduction adds. */
export type SummedArray = Float32Array | Float64Array;

/** An MPI function that has failed. */
export class MpiError extends Error {
  override readonly name = "MpiError";
}

/** MPI_THREAD_MULTIPLE. */
const threadMultiple = 3;

/** Bytes that one call moves: faster than one call for all of it, and far below the 2^31 elements that a count can be. */
const pieceBytes = 1 << 20;

/** What handles are in a family's interface, and those of MPI's own objects. Source: mpi.h of Open MPI 4.1 and MPICH 4.0. */
const handlesOf = ({ family, handle }: MpiLibrary) => {
  if (family === "MPICH")
    return {
      type: "int32_t",
      world: 0x44000000,
      float32: 0x4c00040a,
      float64: 0x4c00080b,
      byte: 0x4c00010d,
      sum: 0x58000003,
      inPlace: -1n,
      errorsReturn: 0x54000001,
    };
  const object = (name: string): unknown => handle.symbol(`ompi_mpi_${name}`, "void *");
  return {
    type: "void *",
    world: object("comm_world"),
    float32: object("float"),
    float64: object("double"),
    byte: object("byte"),
    sum: object("op_sum"),
    inPlace: 1n,
    errorsReturn: object("errors_return"),
  };
};

type Native = ReturnType<MpiLibrary["handle"]["func"]>;

/** The functions that wait for other processes. */
type Collective = "allreduce" | "reduceScatter" | "bcast" | "allgather" | "barrier";

/**
 * The processes that an MPI launcher has started, as one of them sees the others.
 *
 * Calls are collective: every process makes the same ones in the same order. They run one after the other on another
 * thread, so the event loop stays free; arrays must not change meanwhile.
 */
export class Mpi {
  /** Of the library, its first line. */
  readonly version: string;
  readonly rank: number;
  readonly size: number;
  readonly #handles: ReturnType<typeof handlesOf>;
  readonly #functions: Readonly<Record<Collective, Native>>;
  readonly #errorString: Native;
  readonly #abort: Native;
  readonly #finalize: Native;
  #last: Promise<void> = Promise.resolve();

  private constructor(library: MpiLibrary) {
    const { handle: lib } = library;
    const handles = handlesOf(library);
    const { type } = handles;
    const fn = (name: string, args: readonly string[]): Native =>
      lib.func(`MPI_${name}`, "int", [...args]);
    this.#handles = handles;
    this.#errorString = fn("Error_string", ["int", "void *", "void *"]);
    this.#abort = fn("Abort", [type, "int"]);
    this.#finalize = fn("Finalize", []);
    this.#functions = {
      allreduce: fn("Allreduce", ["void *", "void *", "int", type, type, type]),
      // Not Reduce_scatter_block, which Open MPI sends through one process: half as much again on the wire.
      reduceScatter: fn("Reduce_scatter", ["void *", "void *", "void *", type, type, type]),
      bcast: fn("Bcast", ["void *", "int", type, "int", type]),
      allgather: fn("Allgather", ["void *", "int", type, "void *", "int", type, type]),
      barrier: fn("Barrier", [type]),
    };
    const number = new Int32Array(1);
    this.#check(
      fn("Init_thread", ["void *", "void *", "int", "void *"])(null, null, threadMultiple, number),
    );
    // Aborts become codes, which have words.
    this.#check(fn("Comm_set_errhandler", [type, type])(handles.world, handles.errorsReturn));
    const ask = (name: string): number => {
      this.#check(fn(name, [type, "void *"])(handles.world, number));
      return number[0] ?? 0;
    };
    this.rank = ask("Comm_rank");
    this.size = ask("Comm_size");
    const text = Buffer.alloc(8192);
    this.#check(fn("Get_library_version", ["void *", "void *"])(text, number));
    this.version = text.toString("utf8", 0, number[0]).split("\n")[0] ?? "";
  }

  /**
   * Joins the other processes; once in a process.
   *
   * @throws {UserError} without a library
   * @throws {MpiError} if MPI cannot start
   */
  static init(family: MpiFamily): Mpi {
    return new Mpi(loadMpi(family));
  }

  /** Adds up the arrays of all processes, in place; all get the same bits. */
  async sum(array: SummedArray): Promise<void> {
    const { inPlace, sum, world, float32, float64 } = this.#handles;
    const type = array instanceof Float32Array ? float32 : float64;
    const length = pieceBytes / array.BYTES_PER_ELEMENT;
    for (let from = 0; from < array.length; from += length) {
      const piece = array.subarray(from, from + length);
      await this.#run("allreduce", [inPlace, piece, piece.length, type, sum, world]);
    }
  }

  /**
   * `own` becomes the sum over all processes of the stretch of `whole` that stands at this process's place; `whole` has one for each.
   * With `adds` that sum is added to `own`.
   *
   * @throws {RangeError} unless `whole` is as long as `own` times the processes
   */
  async reduceScatter(whole: Float32Array, own: Float32Array, adds = false): Promise<void> {
    const { sum, world, float32 } = this.#handles;
    this.#checkShares(whole.length, own.length);
    const length = Math.max(1, Math.floor(pieceBytes / 4 / this.size));
    const [sent, received] = [new Float32Array(length * this.size), new Float32Array(length)];
    for (let from = 0; from < own.length; from += length) {
      const count = Math.min(length, own.length - from);
      for (let rank = 0; rank < this.size; rank++) {
        const at = rank * own.length + from;
        sent.set(whole.subarray(at, at + count), rank * count);
      }
      const counts = new Int32Array(this.size).fill(count);
      await this.#run("reduceScatter", [sent, received, counts, float32, sum, world]);
      if (!adds) own.set(received.subarray(0, count), from);
      else
        for (let i = 0; i < count; i++) own[from + i] = (own[from + i] ?? 0) + (received[i] ?? 0);
    }
  }

  /**
   * Stretch i of `whole` becomes `own` of process i.
   *
   * @throws {RangeError} unless `whole` is as long as `own` times the processes
   */
  async allGather(own: Uint8Array, whole: Uint8Array): Promise<void> {
    const { byte, world } = this.#handles;
    this.#checkShares(whole.length, own.length);
    const length = Math.max(1, Math.floor(pieceBytes / this.size));
    const received = new Uint8Array(length * this.size);
    for (let from = 0; from < own.length; from += length) {
      const count = Math.min(length, own.length - from);
      // A copy: `own` may lie in `whole`, and what MPI reads must not move.
      const sent = own.slice(from, from + count);
      await this.#run("allgather", [sent, count, byte, received, count, byte, world]);
      for (let rank = 0; rank < this.size; rank++)
        whole.set(received.subarray(rank * count, (rank + 1) * count), rank * own.length + from);
    }
  }

  #checkShares(whole: number, own: number): void {
    if (whole !== own * this.size)
      throw new RangeError(
        `Cannot share out ${whole} elements among ${this.size} processes: found shares of ${own}`,
      );
  }

  /** Gives the bytes of process `from` to all. */
  async broadcast(bytes: Uint8Array, from: number): Promise<void> {
    const { byte, world } = this.#handles;
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes);
      await this.#run("bcast", [piece, piece.length, byte, from, world]);
    }
  }

  /** The bytes of all processes, in their order, of which each gives as many. */
  async gather(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
    const { byte, world } = this.#handles;
    const { length } = bytes;
    const all = new Uint8Array(length * this.size);
    await this.#run("allgather", [bytes, length, byte, all, length, byte, world]);
    return Array.from({ length: this.size }, (_, rank) =>
      all.subarray(rank * length, (rank + 1) * length),
    );
  }

  /** Waits until all have come here. */
  barrier(): Promise<void> {
    return this.#run("barrier", [this.#handles.world]);
  }

  /** Ends all processes with this exit code. */
  abort(code: number): void {
    this.#abort(this.#handles.world, code);
  }

  /** Leaves the others, after all calls; nothing may be called afterwards. */
  async finalize(): Promise<void> {
    await this.#last.catch(() => undefined);
    // For good: what MPI leaves behind does not survive that node unloads it (SIGSEGV with Open MPI's TCP), so the process has to
    // leave without tearing down.
    enterNative(this);
    this.#finalize();
  }

  #run(name: Collective, args: readonly unknown[]): Promise<void> {
    const call = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const held = [...args];
        enterNative(held);
        this.#functions[name].async(...held, (error: Error | null, code: number) => {
          leaveNative(held);
          const failure = error ?? this.#failureOf(code);
          if (failure) reject(failure);
          else resolve();
        });
      });
    // One after the other, whatever became of those before.
    const run = this.#last.then(call, call);
    this.#last = run;
    return run;
  }

  #failureOf(code: number): MpiError | undefined {
    if (code === 0) return undefined;
    const text = Buffer.alloc(512);
    const length = new Int32Array(1);
    this.#errorString(code, text, length);
    return new MpiError(text.toString("utf8", 0, length[0]));
  }

  #check(code: unknown): void {
    const failure = this.#failureOf(code as number);
    if (failure) throw failure;
  }
}
