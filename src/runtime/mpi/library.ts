import koffi, { type LibraryHandle } from "koffi";
import { messageOf, UserError } from "../../core/errors.js";

/** The two families of binary interfaces that MPI libraries have. */
export type MpiFamily = "Open MPI" | "MPICH";

/**
 * The names under which a family's library is found, newest first; the system's loader looks for them.
 * Intel MPI and MVAPICH have MPICH's interface, and its soname libmpi.so.12. Source: MPICH ABI Compatibility Initiative.
 */
const fileNames: Readonly<Record<MpiFamily, readonly string[]>> = {
  "Open MPI": ["libmpi.so.40", "libmpi.40.dylib", "libmpi.so"],
  MPICH: ["libmpich.so.12", "libmpi.so.12", "libmpi.12.dylib"],
};

/** An MPI library in this process. */
export interface MpiLibrary {
  readonly handle: LibraryHandle;
  readonly family: MpiFamily;
  /** The file by which it was found. */
  readonly path: string;
}

/** A symbol that Open MPI alone has: its handles are addresses of such objects. */
const openMpiSymbol = "ompi_mpi_comm_world";

const familyOf = (handle: LibraryHandle): MpiFamily => {
  try {
    handle.symbol(openMpiSymbol, "void *");
    return "Open MPI";
  } catch {
    return "MPICH";
  }
};

// koffi unloads a library whose handle is collected: this one stays for good.
let opened: MpiLibrary | undefined;

/**
 * Loads the MPI library of a family, or the file that HIRA_MPI_LIBRARY names.
 *
 * Its symbols are global: Open MPI loads plugins that look for them there.
 * @param family that of the program which started this process: another one's library would find no other rank
 * @throws {UserError} where there is none, or the file is another family's, saying what to install
 */
export const loadMpi = (family: MpiFamily, env: NodeJS.ProcessEnv = process.env): MpiLibrary => {
  if (opened) return opened;
  const given = env.HIRA_MPI_LIBRARY;
  const names = given === undefined || given === "" ? fileNames[family] : [given];
  const failures: string[] = [];
  for (const path of names) {
    try {
      const handle = koffi.load(path, { global: true, lazy: true });
      const found = familyOf(handle);
      if (found === family) return (opened = { handle, family, path });
      failures.push(`${path}: it is ${found}'s`);
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  throw new UserError(
    `Cannot use several processes: found no library of ${family}, by which this one was started: ${failures.join("; ")}`,
    `Install it (Debian: apt-get install ${family === "MPICH" ? "libmpich12 mpich" : "libopenmpi3 openmpi-bin"}), or say where it is: HIRA_MPI_LIBRARY=FILE`,
  );
};
