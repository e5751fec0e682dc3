import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "../../src/runtime/device.js";

/** Which of a session's nodes ran on the CPU provider, from ONNX Runtime's profile. */
export interface Placement {
  /** How many nodes ran, and how many of them copied between host and device. */
  readonly nodes: number;
  readonly copies: number;
  /** What ran on the CPU, apart from arithmetic on shapes: "Log bfloat16". */
  readonly onCpu: readonly string[];
  /** Arithmetic on shapes, which belongs on the CPU: "Gather int64". */
  readonly shapes: readonly string[];
}

/** A line of a profile in Chrome's trace format. */
interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  readonly args?: {
    readonly op_name?: string;
    readonly provider?: string;
    readonly input_type_shape?: readonly Readonly<Record<string, readonly number[]>>[];
  };
}

/** Integers of this many elements or fewer are sizes. */
const mostSizes = 16;

/**
 * Where the nodes of the runs in a profile were computed.
 *
 * A node on the CPU counts as arithmetic on shapes if its first input is int64 and small.
 * @param path of a profile that a disposed session has written
 */
export const readPlacement = (path: string): Placement => {
  const events = JSON.parse(readFileSync(path, "utf8")) as readonly ProfileEvent[];
  let [nodes, copies] = [0, 0];
  const [onCpu, shapes] = [new Set<string>(), new Set<string>()];
  for (const { cat, name, args } of events) {
    if (cat !== "Node" || !name.endsWith("_kernel_time") || args === undefined) continue;
    nodes++;
    const op = args.op_name ?? name;
    if (/^Memcpy/.test(op)) copies++;
    else if (args.provider === "CPUExecutionProvider") {
      const [first = {}] = args.input_type_shape ?? [];
      const [[type, shape] = ["?", []]] = Object.entries(first);
      const isShape = type === "int64" && shape.reduce((n, size) => n * size, 1) <= mostSizes;
      (isShape ? shapes : onCpu).add(`${op} ${type}`);
    }
  }
  return { nodes, copies, onCpu: [...onCpu].sort(), shapes: [...shapes].sort() };
};

/** A device whose sessions write profiles into a folder, and what those that were disposed of have written, taken out of it. */
export const profiledDevice = (
  device: Device,
  folder: string,
): { readonly device: Device; readonly takePlacements: () => readonly Placement[] } => ({
  device: {
    ...device,
    createSession: (options) =>
      device.createSession({ ...options, profile: join(folder, "session") }),
  },
  takePlacements: () =>
    readdirSync(folder)
      .filter((name) => name.startsWith("session"))
      .sort()
      .map((name) => {
        const path = join(folder, name);
        const placement = readPlacement(path);
        rmSync(path);
        return placement;
      }),
});
