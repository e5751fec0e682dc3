import { Graph } from "../graph/graph.js";
import type { Precision } from "../core/precision.js";
import { openGraph } from "../runtime/compute-plan.js";
import type { Device } from "../runtime/device.js";
import { Tensor } from "../runtime/tensor.js";

/** How fast a device multiplies matrices in one precision. */
export interface ProductRate {
  readonly precision: Precision;
  /** Of two square matrices, 2 n^3 operations, in billions a second. */
  readonly gflops: number;
}

/** Rows of the matrices. */
const size = 768;
/** How long products are repeated, after the first. */
const measuredMs = 60;

/**
 * The rate of y = x W^T, W frozen, in each of the device's precisions: the fastest of what fits into a tenth of a second.
 *
 * It is a rough figure that tells a machine's kinds apart; npm run bench measures.
 */
export const measureProducts = async (
  device: Device,
  threads: number | undefined,
): Promise<readonly ProductRate[]> => {
  const g = new Graph();
  const weight = g.weight("w", "float32", [size, size]);
  g.output("y", g.matmul(g.input("x", "float32", ["n", size]), weight, { transB: true }));
  const values = Float32Array.from({ length: size * size }, (_, i) => Math.sin(i));
  const w = Tensor.fromArray("float32", [size, size], values);
  const rates: ProductRate[] = [];
  for (const precision of device.precisions) {
    const session = await openGraph({ device, precision, threads }, g, { initializers: { w } });
    const x = device.upload(Tensor.fromArray("float32", [size, size], values));
    const y = device.zeros("float32", [size, size]);
    let fastest = Infinity;
    const begun = performance.now();
    for (let run = 0; run < 2 || performance.now() - begun < measuredMs; run++) {
      const started = performance.now();
      await session.run({ x }, { y });
      // Devices compute while this thread goes on.
      device.read(y);
      fastest = Math.min(fastest, performance.now() - started);
    }
    session.dispose();
    for (const tensor of [x, y]) tensor.dispose();
    rates.push({ precision, gflops: (2 * size ** 3) / fastest / 1e6 });
  }
  return rates;
};
