import { spawnSync } from "node:child_process";
import { Graph } from "../../../src/graph/graph.js";
import { openGraph } from "../../../src/runtime/compute-plan.js";
import type { Device } from "../../../src/runtime/device.js";
import { openCuda } from "../../../src/runtime/devices/cuda.js";
import { runtimeVersion } from "../../../src/runtime/ort/version.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { oneLine, short, type Stage, type StageContext } from "../stage.js";

const printed = (command: string, ...args: readonly string[]): string => {
  const { stdout, error, status } = spawnSync(command, args, { encoding: "utf8", timeout: 60_000 });
  return error || status !== 0 ? "" : stdout.trim().replaceAll(/\s+/g, " ");
};

/** x = x * 1.5 - 0.25 in place, many times without a wait between: right only if the runs keep their order. */
const orderedRuns = async (device: Device): Promise<number> => {
  const g = new Graph();
  const x = g.input("x", "float32", ["n"]);
  const scaled = g.mul(x, g.scalar(1.5, "float32"));
  g.output("y", g.sub(scaled, g.scalar(0.25, "float32")));
  const plan = { device, precision: "fp32", threads: undefined } as const;
  const sessions = [await openGraph(plan, g), await openGraph(plan, g)];
  const start = Float32Array.from({ length: 1 << 20 }, (_, i) => 0.5 + (i % 97) * 1e-6);
  const expected = start.slice();
  const tensor = device.upload(Tensor.fromArray("float32", [start.length], start));
  const runs = 40;
  for (let run = 0; run < runs; run++) {
    await sessions[run % 2]?.run({ x: tensor }, { y: tensor }, { sync: true });
    for (let i = 0; i < expected.length; i++)
      expected[i] = Math.fround(Math.fround((expected[i] ?? 0) * 1.5) - 0.25);
  }
  const found = device.read(tensor) as Float32Array;
  for (const session of sessions) session.dispose();
  return found.reduce(
    (most, value, i) =>
      Math.max(most, Math.abs(value - (expected[i] ?? 0)) / Math.abs(expected[i] ?? 1)),
    0,
  );
};

const copySpeed = (device: Device): { readonly up: number; readonly down: number } => {
  const host = Tensor.zeros("float32", [16 << 20]);
  const timed = (work: () => void): number => {
    work();
    const begun = performance.now();
    work();
    return short(host.byteLength / 1e6 / (performance.now() - begun));
  };
  let tensor = device.upload(host);
  const up = timed(() => {
    tensor = device.upload(host);
  });
  return { up, down: timed(() => void device.read(tensor)) };
};

const checkRoute = async (
  { add, deviceDir }: StageContext,
  route: "plugin" | "append",
): Promise<void> => {
  const what = `${route} interface`;
  try {
    const environment = { ...process.env, HIRA_CUDA_ROUTE: route };
    const device = await openCuda({ folder: deviceDir, card: 0 }, environment);
    const error = await orderedRuns(device);
    add({
      what,
      found: `runs; 40 ordered runs differ by ${error.toExponential(1)}`,
      ok: error < 1e-5,
    });
  } catch (error) {
    add({ what, found: oneLine(error), ok: false });
  }
};

/** What is there: versions, the card, both of the provider's interfaces, and whether its memory and its order are right. */
export const devices: Stage = {
  title: "Devices",
  about: "What the machine has, and whether memory and the order of runs on the device are right.",
  limit: 30,
  async run(context) {
    const { add, python, device: name } = context;
    const gpu = printed(
      "nvidia-smi",
      "--query-gpu=name,driver_version,memory.total,memory.used,compute_cap",
      "--format=csv,noheader",
    );
    add({ what: "nvidia-smi", found: gpu || "not there", ok: true });
    if (python) {
      const script =
        "import torch, transformers, peft; print('torch', torch.__version__, 'CUDA', torch.version.cuda, 'transformers', transformers.__version__, 'peft', peft.__version__)";
      add({
        what: "Python",
        found: printed(python, "-c", script) || "lacks torch, transformers or peft",
        ok: true,
      });
    }
    const device = await context.open();
    add({ what: "device", found: device.description, ok: true });
    add({ what: "precisions", found: device.precisions.join(", "), ok: true });
    add({ what: "ONNX Runtime", found: runtimeVersion(), ok: true });
    const three = device.upload(Tensor.fromArray("float32", [3], Float32Array.of(1, 2, 3)));
    const back = [...(device.read(three) as Float32Array)].join(" ");
    add({ what: "three numbers there and back", found: back, ok: back === "1 2 3" });
    const error = await orderedRuns(device);
    add({
      what: "40 ordered runs of two sessions differ by",
      found: short(error),
      ok: error < 1e-5,
    });
    const { up, down } = copySpeed(device);
    add({
      what: "copies of 64 MiB, GB/s up and down",
      found: `${String(up)} and ${String(down)}`,
      ok: true,
    });
    if (name.startsWith("cuda"))
      for (const route of ["plugin", "append"] as const) await checkRoute(context, route);
    device.dispose();
  },
};
