import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { cpuPlan, openGraph, type ComputePlan } from "../../../src/runtime/compute-plan.js";
import type { Tensor } from "../../../src/runtime/tensor.js";
import {
  buildOpGraph,
  opCases,
  opsWithoutForm,
  widenElements,
  type OpDType,
  type OpGraph,
} from "../op-graph.js";
import { profiledDevice } from "../placement.js";
import { oneLine, short, type Stage } from "../stage.js";

/** The largest difference over the largest element that rounding explains, by dtype. */
const bounds: Readonly<Record<OpDType, number>> = { float32: 2e-5, float16: 1e-2, bfloat16: 6e-2 };

const compute = async (
  plan: ComputePlan,
  { graph, feeds }: OpGraph,
): Promise<ReadonlyMap<string, Float32Array>> => {
  const session = await openGraph(plan, graph);
  try {
    const { device } = plan;
    const uploaded = Object.entries(feeds).map(([name, tensor]) => [name, device.upload(tensor)]);
    const made = await session.run(Object.fromEntries(uploaded) as Record<string, Tensor>);
    return new Map(
      Object.entries(made).map(([name, tensor]) => [
        name,
        widenElements(tensor.dtype, device.read(tensor)),
      ]),
    );
  } finally {
    session.dispose();
  }
};

const largestDifference = (
  found: ReadonlyMap<string, Float32Array>,
  expected: ReadonlyMap<string, Float32Array>,
): readonly [name: string, error: number] => {
  let worst: readonly [string, number] = ["", 0];
  for (const [name, numbers] of expected) {
    const largest = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-6);
    const others = found.get(name);
    const error = numbers.reduce((most, x, i) => {
      const difference = Math.abs(x - (others?.[i] ?? NaN)) / largest;
      return difference <= most ? most : difference;
    }, 0);
    if (!(error <= worst[1])) worst = [name, error];
  }
  return worst;
};

interface Summary {
  cases: number;
  right: number;
  worst: number;
}

/** Every op's cases, values and gradients, against the CPU: which kernels are missing, and which are wrong. */
export const ops: Stage = {
  title: "Ops",
  about:
    "Every op's cases on the device against the CPU in float32, values and gradients: which are wrong, which leave the device. One line a dtype; then one a fault.",
  limit: 45,
  async run({ add, open, work, dryRun }) {
    const device = await open();
    const cpu = cpuPlan();
    const watched = profiledDevice(device, mkdtempSync(join(work, "profiles-")));
    const plan: ComputePlan = { device: watched.device, precision: "fp32", threads: undefined };
    const dtypes: readonly OpDType[] =
      device.name === "cpu" ? ["float32"] : ["float32", "float16", "bfloat16"];
    const cases = opCases().filter((_, i) => !dryRun || i % 3 === 0);
    for (const dtype of dtypes) {
      const summary: Summary = { cases: 0, right: 0, worst: 0 };
      const lacking = new Set<string>();
      const shapes = new Set<string>();
      for (const { op, check } of cases) {
        if (dtype !== "float32" && check.dtype === "float32" && /Erf/.test(op)) continue;
        const title = `${op} ${check.title}`;
        const built = buildOpGraph(check, dtype);
        const without = opsWithoutForm(built.graph, device.hasKernel);
        for (const each of without) lacking.add(each);
        if (without.length > 0) continue;
        summary.cases++;
        try {
          const found = await compute(plan, built);
          // One that failed has left its own before.
          const placement = watched.takePlacements().at(-1);
          for (const each of placement?.shapes ?? []) shapes.add(each);
          const expected = await compute(cpu, buildOpGraph(check, "float32", dtype));
          const [name, error] = largestDifference(found, expected);
          summary.worst = Math.max(summary.worst, error);
          const leaves =
            (device.name !== "cpu" && (placement?.onCpu.length ?? 0) > 0) ||
            (placement?.copies ?? 0) > 0;
          if (error <= bounds[dtype] && !leaves) summary.right++;
          else
            add({
              ...{ dtype, case: title, ok: error <= bounds[dtype] },
              found: leaves
                ? `leaves the device: ${placement?.onCpu.join(", ") ?? ""}, ${String(placement?.copies ?? 0)} copies; differs by ${error.toExponential(1)}`
                : `${name} differs by ${error.toExponential(1)} of the largest`,
            });
        } catch (error) {
          add({ dtype, case: title, ok: false, found: oneLine(error) });
        }
      }
      add({
        ...{ dtype, case: `all ${String(summary.cases)}`, ok: summary.right === summary.cases },
        found: `${String(summary.right)} right, largest difference ${String(short(summary.worst))}; on the CPU: ${[...shapes].sort().join(", ") || "nothing"}; not tried, since the device lacks them: ${[...lacking].sort().join(", ") || "none"}`,
      });
    }
    device.dispose();
  },
};
