/** A training step's time a token against the length of rows and their number, beside the machine's rate of matrix products. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { formatTable } from "../../src/cli/table.js";
import { UserError } from "../../src/core/errors.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { hira } from "../../src/peft/hira.js";
import { selectTargets } from "../../src/peft/targets.js";
import { openPlan, type ComputeChoice } from "../../src/runtime/compute-plan.js";
import { measureProducts } from "../../src/runs/product-rate.js";
import { buildLossGraph } from "../../src/train/loss-graph.js";
import { chunkCount } from "../../src/train/loss-session.js";
import { writeSteps } from "../reference/batch-file.js";
import type { Bench } from "./bench.js";
import { shapesPlot, type ShapePoint } from "./shapes-plot.js";
import { randomSteps } from "./step-batches.js";
import { productFlops, sizesOf } from "./step-flops.js";
import type { WorkerOptions, WorkerResult } from "./step-worker.js";

const targetModules = "q_proj,k_proj,v_proj,up_proj,down_proj";
const rank = 32;
/** Labelled tokens of each row: an answer of the commonsense sets is about as long. */
const targets = 8;

/** What was found of one shape. */
interface FoundShape extends ShapePoint {
  readonly stepMs: number;
  readonly peakMiB: number;
}

/** Names the columns of a table, and prints a shape's row. */
const rowOf = ({ batch, length, stepMs, msPerToken, boundMsPerToken, peakMiB }: FoundShape) => [
  ...[String(batch), String(length), stepMs.toFixed(0), msPerToken.toFixed(2)],
  ...[boundMsPerToken.toFixed(2), (boundMsPerToken / msPerToken).toFixed(2), peakMiB.toFixed(0)],
];
const headings = ["batch", "length", "step ms", "ms a token", "bound", "share of it", "peak MiB"];

const markdownOf = (found: readonly FoundShape[]): string =>
  [headings, headings.map(() => "---:"), ...found.map(rowOf)]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");

const wholeNumbers = (name: string, list: string): readonly number[] => {
  const numbers = list.split(",").map(Number);
  if (numbers.every((number) => Number.isInteger(number) && number > 0)) return numbers;
  throw new UserError(
    `Cannot measure shapes: found --${name}=${list}, expected whole numbers from 1`,
  );
};

/** `npm run bench -- shapes`. */
export const shapesBench: Bench = {
  summary:
    "A HiRA step's time a token against length and batch, beside the rate of matrix products",
  usage: `--model=DIR [--lengths=128,256,512,1024,2048,4096] [--rows=1] [--batches=1,2,4,8,16,32,64] [--columns=128] [--steps=3] [--warmup=1]
[--device=NAME] [--device_dir=DIR] [--precision=fp32] [--threads=N] [--json=FILE] [--svg=FILE] [--markdown=FILE]
  HiRA of rank ${String(rank)}, random tokens, the last ${String(targets)} of each row labelled; the fastest of --steps, each shape in a process of its own.
  bound  the operations of all matrix products of the step over the rate of one product of 768 x 768 matrices, measured before`,
  async run(argv) {
    const word = { type: "string" } as const;
    const { values } = parseArgs({
      args: [...argv],
      options: {
        ...{ model: word, device: word, device_dir: word, precision: { ...word, default: "fp32" } },
        lengths: { ...word, default: "128,256,512,1024,2048,4096" },
        batches: { ...word, default: "1,2,4,8,16,32,64" },
        ...{ rows: { ...word, default: "1" }, columns: { ...word, default: "128" } },
        ...{ steps: { ...word, default: "3" }, warmup: { ...word, default: "1" } },
        threads: { ...word, default: String(availableParallelism()) },
        ...{ json: word, svg: word, markdown: word },
      },
    });
    if (values.model === undefined) throw new UserError("Cannot measure shapes: found no --model");
    const { model: path } = values;
    const folder = await loadModelFolder(path);
    const { model } = folder;
    const weights = await openFrozenWeights(folder.weights, { storage: "stored" });
    const adapter = createLinearAdapter(
      hira,
      { rank },
      selectTargets(model.linears, targetModules),
    );
    const choice: ComputeChoice = {
      device: values.device,
      deviceDir: values.device_dir,
      precision: values.precision as ComputeChoice["precision"],
    };
    const threads = Number(values.threads);
    const plan = await openPlan({ ...choice, threads });
    const rates = await measureProducts(plan.device, threads);
    plan.device.dispose();
    const gflops = rates.find(({ precision }) => precision === plan.precision)?.gflops ?? NaN;
    console.log(
      `${cpus()[0]?.model ?? ""}, ${String(threads)} threads; ${plan.device.description}; matrix products: ${gflops.toFixed(0)} GFLOP/s`,
    );
    const work = await mkdtemp(join(tmpdir(), "hira-shapes-"));
    const worker = fileURLToPath(new URL("step-worker.ts", import.meta.url));
    const known = new Map<string, FoundShape>();
    const measure = async (batch: number, length: number): Promise<FoundShape | undefined> => {
      const key = `${String(batch)} x ${String(length)}`;
      const before = known.get(key);
      if (before) return before;
      const labels = batch * targets;
      const options = {
        ...{ model, adapter, maxPositions: length, maxRows: batch, chunks: chunkCount(labels) },
        ...{
          gradients: true,
          recomputeLayers: false,
          typeOf: (name: string) => weights.typeOf(name),
        },
      };
      const flops = productFlops(
        buildLossGraph(options),
        sizesOf(options, { batch, seq: length, labels }),
      );
      const batches = join(work, `${String(batch)}-${String(length)}.jsonl`);
      const shape = { steps: Number(values.steps), batch, columns: length };
      await writeSteps(batches, randomSteps(shape, targets, model.vocabSize));
      const asked: WorkerOptions = {
        ...{
          model: path,
          batches,
          warmup: Number(values.warmup),
          method: "hira",
          rank,
          targetModules,
        },
        ...{
          threads,
          checkpointing: false,
          storage: "stored",
          attention: "sdpa",
          logits: "labelled",
        },
        choice,
      };
      try {
        const { stdout } = await promisify(execFile)(process.execPath, [
          ...["--import=tsx", worker, JSON.stringify(asked)],
        ]);
        const { milliseconds, peakBytes } = JSON.parse(stdout) as WorkerResult;
        const stepMs = Math.min(...milliseconds);
        const found = {
          ...{ batch, length, stepMs, msPerToken: stepMs / batch / length },
          boundMsPerToken: flops / gflops / 1e6 / batch / length,
          peakMiB: peakBytes / 2 ** 20,
        };
        known.set(key, found);
        console.log(`${key}: ${stepMs.toFixed(0)} ms, ${found.peakMiB.toFixed(0)} MiB`);
        return found;
      } catch (error) {
        // A shape that does not fit ends its own process alone.
        console.log(
          `${key}: left out, its process ended (${String((error as { readonly signal?: string }).signal ?? "an error")}) with ${(freemem() / 2 ** 30).toFixed(1)} GiB free`,
        );
        return undefined;
      }
    };
    const all = async (shapes: readonly (readonly [number, number])[]): Promise<FoundShape[]> => {
      const found: FoundShape[] = [];
      for (const [batch, length] of shapes) {
        const one = await measure(batch, length);
        if (one) found.push(one);
      }
      return found;
    };
    try {
      const [rows, columns] = [Number(values.rows), Number(values.columns)];
      const byLength = await all(
        wholeNumbers("lengths", values.lengths).map((length) => [rows, length] as const),
      );
      const byBatch = await all(
        wholeNumbers("batches", values.batches).map((batch) => [batch, columns] as const),
      );
      const found = [...byLength, ...byBatch.filter((point) => !byLength.includes(point))];
      const table = headings.map((heading) => ({ heading, align: "right" as const }));
      for (const line of formatTable(table, found.map(rowOf))) console.log(line);
      const title = `HiRA r ${String(rank)}, ${plan.device.name} ${plan.precision}, ${cpus()[0]?.model ?? ""}`;
      if (values.svg !== undefined) writeFileSync(values.svg, shapesPlot(byLength, byBatch, title));
      if (values.markdown !== undefined) writeFileSync(values.markdown, `${markdownOf(found)}\n`);
      if (values.json !== undefined)
        writeFileSync(
          values.json,
          `${JSON.stringify({ processor: cpus()[0]?.model, threads, gflops, found }, undefined, 2)}\n`,
        );
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  },
};
