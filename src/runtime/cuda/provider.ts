import { UserError } from "../../core/errors.js";
import {
  environment,
  listOfTexts,
  ort,
  readAddresses,
  receive,
  type Handle,
} from "../ort/c-api.js";
import { withFilesBesideOnnxRuntime } from "../ort/library.js";
import { OrtError } from "../ort/ort-error.js";
import type { OrtProvider } from "../ort/session-options.js";
import { basename, join } from "node:path";
import type { CudaLibraries } from "./libraries.js";
import { memoryHint } from "./memory.js";

/** By which of ONNX Runtime's two interfaces the provider is reached. */
export type CudaRoute = "plugin" | "append";

/** Options of ONNX Runtime's CUDA provider, by their names there. */
export type CudaOptions = Readonly<Record<string, string>>;

/** What ONNX Runtime says where a run found no room on the card. */
const noRoom =
  /failed to allocate memory|out of memory|CUDA failure 2\b|CUBLAS_STATUS_ALLOC_FAILED/i;

/** The first line of what the runtime says, which goes on for a page. */
const firstLine = (message: string): string =>
  (/CUDA failure [^;]*/.exec(message)?.[0] ?? message.split("\n")[0] ?? message)
    .slice(0, 300)
    .trim();

const explain = (error: unknown): unknown =>
  error instanceof OrtError && noRoom.test(error.message)
    ? new UserError(
        `Cannot compute on device "cuda": found no room on the card (${firstLine(error.message)})`,
        memoryHint,
      )
    : error;

/** The devices that the registered libraries offer. */
const offeredDevices = (): readonly bigint[] => {
  const list = new BigUint64Array(1);
  const count = receive<bigint>((out) => ort().getEpDevices(environment(), list, out));
  return [...readAddresses(list[0] ?? 0n, Number(count))].filter((device) => {
    const { name, isGpu } = ort().epDevice(device);
    return isGpu && name === "CUDAExecutionProvider";
  });
};

const appendByOptions = (options: CudaOptions) => {
  const [keys, values] = [listOfTexts(Object.keys(options)), listOfTexts(Object.values(options))];
  return (session: Handle<"SessionOptions">): void => {
    const api = ort();
    const cuda = receive<Handle<"CudaProviderOptions">>((out) =>
      api.createCudaProviderOptions(out),
    );
    try {
      const { addresses } = keys;
      api.updateCudaProviderOptions(cuda, addresses, values.addresses, addresses.length);
      api.appendCudaProvider(session, cuda);
    } finally {
      api.release.cudaOptions(cuda);
      // Until here: native code has read the texts.
      void [keys.kept, values.kept];
    }
  };
};

const appendDevice = (device: bigint, options: CudaOptions) => {
  const [keys, values] = [listOfTexts(Object.keys(options)), listOfTexts(Object.values(options))];
  return (session: Handle<"SessionOptions">): void => {
    ort().appendExecutionProvider(
      session,
      environment(),
      BigUint64Array.of(device),
      1,
      keys.addresses,
      values.addresses,
      keys.addresses.length,
    );
    void [keys.kept, values.kept];
  };
};

let registered = false;

/** Makes ONNX Runtime load the provider's library. Once a process. @throws {OrtError} with what the system's loader says */
const register = ({ provider, shared }: CudaLibraries): void => {
  if (registered) return;
  withFilesBesideOnnxRuntime([shared, provider], (folder) => {
    ort().registerExecutionProviderLibrary(environment(), "cuda", join(folder, basename(provider)));
    // The older interface looks for the library by itself, and only now is it there.
    const options = receive<Handle<"SessionOptions">>((out) => ort().createSessionOptions(out));
    try {
      appendByOptions({})(options);
    } catch (error) {
      // Where it cannot, the newer one may: whoever takes this route hears of it then.
      if (!(error instanceof OrtError)) throw error;
    } finally {
      ort().release.sessionOptions(options);
    }
  });
  registered = true;
};

/**
 * ONNX Runtime's CUDA provider on one card.
 *
 * The plugin's interface comes first; it finds cards through the system's list of devices, which containers may hide, and counts
 * them apart from CUDA. So for a card other than the first, under CUDA_VISIBLE_DEVICES, and where it offers none, the older
 * interface is taken.
 *
 * @param wanted undefined chooses
 * @throws {UserError} where the library cannot be loaded, or the wanted route has no card
 */
export const openCudaProvider = (
  libraries: CudaLibraries,
  options: CudaOptions,
  { wanted, isFirst }: { readonly wanted: CudaRoute | undefined; readonly isFirst: boolean },
): OrtProvider & { readonly route: CudaRoute } => {
  try {
    register(libraries);
  } catch (error) {
    if (!(error instanceof OrtError)) throw error;
    throw new UserError(
      `Cannot compute on device "cuda": ONNX Runtime ${ort().version} could not load ${libraries.provider}: ${error.message}`,
      "The provider has to be of the very version of the onnxruntime-node package: scripts/install-accelerator.sh cuda fetches it",
    );
  }
  const [device, ...others] = offeredDevices();
  if (wanted === "plugin" && device === undefined)
    throw new UserError(
      'Cannot compute on device "cuda" through the plugin interface: found no card offered by it, expected one',
      "The system hides its list of devices (/sys/bus/pci): leave HIRA_CUDA_ROUTE out, or set it to append",
    );
  const takesPlugin =
    device !== undefined &&
    (wanted ?? (isFirst && others.length === 0 ? "plugin" : "append")) === "plugin";
  const { device_id: _card, ...rest } = options;
  return {
    route: takesPlugin ? "plugin" : "append",
    append: takesPlugin ? appendDevice(device, rest) : appendByOptions(options),
    ordered: true,
    explain,
  };
};
