import type { MpiFamily } from "../runtime/mpi/library.js";
import { Mpi } from "../runtime/mpi/mpi.js";
import type { ProcessGroup } from "./process-group.js";

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

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
  return {
    rank: mpi.rank,
    size: mpi.size,
    description: mpi.version,
    sum: (array) => mpi.sum(array),
    broadcast: (array, from) => mpi.broadcast(bytesOf(array), from),
    async gather<T>(value: T) {
      const texts = await gatherTexts(mpi, JSON.stringify(value));
      return texts.map((text) => JSON.parse(text) as T);
    },
    barrier: () => mpi.barrier(),
    abort: (code) => {
      mpi.abort(code);
    },
    close: () => mpi.finalize(),
  };
};
