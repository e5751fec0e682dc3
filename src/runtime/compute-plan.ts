import { UserError } from "../core/errors.js";
import type { Precision } from "../core/precision.js";
import type { Graph } from "../graph/graph.js";
import { encodeOnnx } from "../graph/onnx/encode.js";
import { cutByLayer } from "../graph/passes/cut-by-layer.js";
import { inPrecision } from "../graph/passes/in-precision.js";
import { lower } from "../graph/passes/lower.js";
import type { Device } from "./device.js";
import { cpuDevice } from "./devices/cpu.js";
import { openDevice } from "./devices/registry.js";
import { LayeredSession, type PartHooks } from "./layered-session.js";
import type { Session, SessionOptions } from "./session.js";

/** Where a run computes, in which number type, on how many threads. */
export interface ComputePlan {
  readonly device: Device;
  readonly precision: Precision;
  /** Undefined: as many as the machine runs in parallel. */
  readonly threads: number | undefined;
}

/** What a person asks for: --device, --device_dir, --precision and --threads. */
export interface ComputeChoice {
  /** "auto", a device's name, or "cuda:N". Default "auto": the CPU. */
  readonly device?: string | undefined;
  readonly deviceDir?: string | undefined;
  /** Default "fp32". */
  readonly precision?: Precision | undefined;
  readonly threads?: number | undefined;
  /** Whether the device is believed without being compared with the CPU first. */
  readonly skipDeviceCheck?: boolean | undefined;
}

/** The CPU in float32: the default, against which every other plan is checked. */
export const cpuPlan = (threads?: number): ComputePlan => ({
  device: cpuDevice,
  precision: "fp32",
  threads,
});

/** Where each precision is computed, for a person who has chosen another device. */
const devicesOf: Readonly<Record<Precision, string>> = {
  fp32: "every device",
  bf16: "--device=openvino on a processor with avx512_bf16 or amx_bf16, and --device=cuda",
  mixed: "--device=openvino on a processor with avx512_bf16 or amx_bf16, and --device=cuda",
  fp16: "--device=cpu, slowly, and --device=cuda",
};

/** Opens what a person asks for. The caller disposes of the device. @throws {UserError} if it cannot start, or lacks the precision */
export const openPlan = async (choice: ComputeChoice): Promise<ComputePlan> => {
  const { device: name = "auto", deviceDir, precision = "fp32", threads } = choice;
  const device = await openDevice({ device: name, folder: deviceDir });
  if (!device.precisions.includes(precision)) {
    device.dispose();
    throw new UserError(
      `Cannot compute in --precision=${precision} on --device=${device.name} (${device.description}): expected ${device.precisions.join(" or ")}`,
      `${precision} is for ${devicesOf[precision]}; hira doctor shows what this machine has`,
    );
  }
  return { device, precision, threads };
};

/** Runs `work` on what a person asks for, and disposes of the device whatever comes. @throws what openPlan and `work` throw */
export const withPlan = async <T>(
  choice: ComputeChoice,
  work: (plan: ComputePlan) => Promise<T>,
): Promise<T> => {
  const plan = await openPlan(choice);
  try {
    return await work(plan);
  } finally {
    plan.device.dispose();
  }
};

/** Options of a work that has been given its plan. */
export interface Planned {
  readonly plan: ComputePlan;
}

/** The same for a work whose options hold what is asked for: it finds the plan beside them. */
export const planned = <Options extends ComputeChoice, T>(
  options: Options,
  work: (options: Options & Planned) => Promise<T>,
): Promise<T> => withPlan(options, (plan) => work({ ...options, plan }));

/** How a graph's session is made, beside what the plan says. */
export interface OpenGraphOptions extends Omit<SessionOptions, "model" | "precision" | "threads"> {
  /** Whether the runtime is told the shape of every value, see encodeOnnx. Its fusions that ask for shapes act then. Default false. */
  readonly shapes?: boolean;
}

/** How a graph's sessions are made where it is cut by layer. */
export interface OpenLayersOptions extends OpenGraphOptions {
  /** They bring what `initializers` and the runs lack. */
  readonly hooks?: PartHooks | undefined;
}

/** A graph typed for the plan's precision, in the form that its device computes. */
const readyFor = ({ device, precision }: ComputePlan, graph: Graph): Graph => {
  const typing = device.graphPrecision?.(precision);
  const typed = typing ? inPrecision(graph, typing, device.hasKernel) : graph;
  const lowered = lower(typed, device.hasKernel);
  return device.rewrite?.(lowered) ?? lowered;
};

/** A session of a graph, in the form that the plan's device computes. @throws what Device.createSession throws */
export const openGraph = (
  plan: ComputePlan,
  graph: Graph,
  { shapes = false, ...options }: OpenGraphOptions = {},
): Promise<Session> => {
  const { device, precision, threads } = plan;
  const model = encodeOnnx(readyFor(plan, graph), { shapes });
  return device.createSession({ ...options, model, precision, threads });
};

/**
 * The same in small sessions that run one after the other, of which all layers of one kind share one: made in a fraction of the time
 * that a session of the whole graph takes, and with a layer's weights needed only while it runs. Where the device does not cut
 * graphs (Device.cutsByLayer) it is one session, which knows no hooks.
 *
 * @throws what Device.createSession throws; {RangeError} on hooks for a device that does not cut
 */
export const openLayers = async (
  plan: ComputePlan,
  graph: Graph,
  { shapes = false, initializers = {}, hooks, ...options }: OpenLayersOptions = {},
): Promise<Session> => {
  const { device, precision, threads } = plan;
  if (device.cutsByLayer !== true) {
    if (hooks)
      throw new RangeError(
        `Cannot run a graph part by part: found device "${device.name}", expected one that cuts graphs by layer`,
      );
    return openGraph(plan, graph, { ...options, shapes, initializers });
  }
  const cut = cutByLayer(readyFor(plan, graph));
  const sessions: Session[] = [];
  try {
    for (const part of cut.graphs) {
      const model = encodeOnnx(part, { shapes });
      sessions.push(
        await device.createSession({ ...options, model, precision, threads, arena: "shared" }),
      );
    }
  } catch (error) {
    for (const session of sessions) session.dispose();
    throw error;
  }
  return new LayeredSession(cut, sessions, initializers, hooks);
};
