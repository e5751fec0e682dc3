import { existsSync, readFileSync } from "node:fs";
import { UserError } from "../../core/errors.js";
import type { Precision } from "../../core/precision.js";
import type { HasKernel } from "../../graph/passes/lower.js";
import type { Device } from "../device.js";
import { loadOpenVino, type OpenVinoApi } from "../openvino/c-api.js";
import { OpenVinoSession } from "../openvino/session.js";
import { originalOf, twinSquareWeights } from "../openvino/square-weights.js";
import { readExternalInitializers } from "../ort/external-initializers.js";
import { readText, receive, type Handle } from "../ort/c-api.js";
import type { SessionOptions } from "../session.js";
import { Tensor } from "../tensor.js";
import { cpuHasKernel } from "./cpu.js";
import { hostMemoryOf } from "./host-memory.js";
import { deviceFolder, findLibrary } from "./place.js";
import type { OpenDevice } from "./open-device.js";
import { typedGraph } from "./typed-graph.js";

/** What OpenVINO's ONNX frontend and CPU plugin lack beside what ONNX Runtime's CPU provider does. */
export const openVinoHasKernel: HasKernel = (opType, dtype) =>
  opType === "FusedMatMul" || cpuHasKernel(opType, dtype);

/** Instructions for products of bfloat16, as the kernel names them. */
const bfloat16Instructions = ["amx_bf16", "avx512_bf16"];

/**
 * Which of the processor's instructions multiply bfloat16. OpenVINO takes bfloat16 on others too, and emulates it, slowly.
 *
 * @param cpuinfo the text of /proc/cpuinfo
 */
export const bfloat16InstructionsOf = (cpuinfo: string): readonly string[] => {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(/\s+/));
  return bfloat16Instructions.filter((name) => flags.has(name));
};

const processorInformation = "/proc/cpuinfo";
const readCpuinfo = (): string =>
  existsSync(processorInformation) ? readFileSync(processorInformation, "utf8") : "";

const precisionsOf = (cpuinfo: string): readonly Precision[] =>
  bfloat16InstructionsOf(cpuinfo).length > 0 ? ["fp32", "bf16", "mixed"] : ["fp32"];

/** The memory of every initializer that the model leaves open: twins get copies. */
const withTwins = (options: SessionOptions): SessionOptions => {
  const { model, initializers = {} } = options;
  const twins: Record<string, Tensor> = {};
  for (const name of readExternalInitializers(model).keys()) {
    const original = initializers[originalOf(name) ?? ""];
    if (!original) continue;
    twins[name] = Tensor.zeros(original.dtype, original.shape);
    twins[name].copyFrom(original);
  }
  return { ...options, initializers: { ...initializers, ...twins } };
};

// A process's core: it holds the plugin, and sessions outlive the device that made them.
const cores = new Map<OpenVinoApi, Handle<"OvCore">>();
const coreOf = (api: OpenVinoApi): Handle<"OvCore"> => {
  const core = cores.get(api) ?? receive<Handle<"OvCore">>((out) => api.ov_core_create(out));
  cores.set(api, core);
  return core;
};

/** Opens OpenVINO's CPU device. @throws {UserError} where the library is missing, or finds no processor that it serves */
export const openOpenVino: OpenDevice = ({ folder }) => {
  const place = deviceFolder("openvino", folder);
  const path = findLibrary(place, /^libopenvino_c\.so\.\d+$/);
  if (path === undefined)
    return Promise.reject(
      new UserError(
        `Cannot compute on device "openvino": found no libopenvino_c.so in ${place}, expected OpenVINO's libraries`,
        `Install them: scripts/install-accelerator.sh openvino; or say where they are: --device_dir=DIR, which may be a Python's site-packages`,
      ),
    );
  const api = loadOpenVino(path);
  const core = coreOf(api);
  const property = (name: string): string => {
    const address = receive((out) => api.ov_core_get_property(core, "CPU", name, out));
    const text = readText(address);
    api.freeText(address);
    return text;
  };
  const processor = property("FULL_DEVICE_NAME").trim();
  const device: Device = {
    ...hostMemoryOf,
    name: "openvino",
    description: `${processor}, OpenVINO ${api.version}`,
    precisions: precisionsOf(readCpuinfo()),
    // Its own hint for bfloat16 rounds sums too, and with them small updates of weights: SmolLM2 then hardly learns.
    graphPrecision: (precision) => (precision === "fp32" ? undefined : typedGraph("mixed")),
    rewritesOutputs: true,
    hasKernel: openVinoHasKernel,
    rewrite: twinSquareWeights,
    createSession: (options) => OpenVinoSession.create(api, core, withTwins(options)),
    dispose: () => undefined,
  };
  return Promise.resolve(device);
};
