import type { MpiFamily } from "../runtime/mpi/library.js";
import { Mpi } from "../runtime/mpi/mpi.js";
import { bytesOf, type ProcessGroup, type Traffic } from "./process-group.js";

/** Texts of different lengths are gathered as bytes of one length, behind their own. */
const gatherTexts = async (mpi: Mpi, text: string): Promise<readonly string[]> => {
  const bytes = Buffer.from(text);
  const lengths = (await mpi.gather(bytesOf(Uint32Array.of(bytes.length)))).map(
    (each) => new Uint32Array(each.slice().buffer)[0] ?? 0,
  );
  const padded = new Uint8Array(Math.max(...lengths));
  padded.set(bytes);
  const all = await mpi.gather(padded);
  return all.map((each, rank) => Buffer.from(each.subarray(0, lengths[rank])).toString("utf8"));
};

/**
 * The group of the processes that an MPI launcher has started.
 *
 * @throws {UserError} without a library, {MpiError} if MPI cannot start
 */
export const joinMpiGroup = (family: MpiFamily): ProcessGroup => {
  const mpi = Mpi.init(family);
  const traffic: Traffic = { bytes: 0, milliseconds: 0 };
  let last: Promise<unknown> = Promise.resolve();
  /** Whole calls take turns: what two of them interleave would differ from process to process. */
  const inTurn = <T>(bytes: number, call: () => Promise<T>): Promise<T> => {
    const timed = async (): Promise<T> => {
      const started = performance.now();
      const result = await call();
      traffic.bytes += bytes;
      traffic.milliseconds += performance.now() - started;
      return result;
    };
    const turn = last.then(timed, timed);
    last = turn;
    return turn;
  };
  return {
    rank: mpi.rank,
    size: mpi.size,
    description: mpi.version,
    traffic,
    sum: (array) => inTurn(array.byteLength, () => mpi.sum(array)),
    reduceScatter: (whole, own, adds) =>
      inTurn(whole.byteLength, () => mpi.reduceScatter(whole, own, adds)),
    allGather: (own, whole) =>
      inTurn(whole.byteLength, () => mpi.allGather(bytesOf(own), bytesOf(whole))),
    broadcast: (array, from) => inTurn(array.byteLength, () => mpi.broadcast(bytesOf(array), from)),
    gather: <T>(value: T) =>
      inTurn(0, async () => {
        const texts = await gatherTexts(mpi, JSON.stringify(value));
        return texts.map((text) => JSON.parse(text) as T);
      }),
    barrier: () => inTurn(0, () => mpi.barrier()),
    abort: (code) => {
      mpi.abort(code);
    },
    close: () => mpi.finalize(),
  };
};
