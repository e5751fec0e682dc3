/** What the frozen weights of a model take in each storage, measured in a process each. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { formatTable } from "../../src/cli/table.js";
import { UserError } from "../../src/core/errors.js";
import type { BaseStorage } from "../../src/train/load-base.js";
import type { Bench } from "./bench.js";
import type { MemoryOptions, MemoryResult } from "./memory-worker.js";

const storages: Readonly<Record<string, BaseStorage>> = {
  "as stored": { loadBit: 16, quantType: "nf4", doubleQuant: false },
  "8 bits": { loadBit: 8, quantType: "nf4", doubleQuant: false },
  nf4: { loadBit: 4, quantType: "nf4", doubleQuant: false },
  "nf4, double": { loadBit: 4, quantType: "nf4", doubleQuant: true },
};

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

/** `npm run bench -- memory`. */
export const memoryBench: Bench = {
  summary: "Bytes of the frozen weights in each storage, and a LoRA step over them",
  usage: `--model=DIR [--batch=4] [--columns=128] [--steps=3]
  linear    the weights of the blocks' linear layers, which are what is quantized; model: with embeddings, norms and head
  resident  physical memory after opening the weights and touching every page; peak: with training. Pages of the model's own file
            count too, though the system can drop them`,
  async run(argv) {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: text,
        batch: { ...text, default: "4" },
        columns: { ...text, default: "128" },
        steps: { ...text, default: "3" },
      },
    });
    if (values.model === undefined) throw new UserError("Cannot measure memory: found no --model");
    const worker = fileURLToPath(new URL("memory-worker.ts", import.meta.url));
    const rows: string[][] = [];
    let stored: MemoryResult | undefined;
    for (const [name, storage] of Object.entries(storages)) {
      const options: MemoryOptions = {
        ...storage,
        model: values.model,
        batch: Number(values.batch),
        columns: Number(values.columns),
        steps: Number(values.steps),
      };
      const { stdout } = await promisify(execFile)(process.execPath, [
        "--expose-gc",
        "--import=tsx",
        worker,
        JSON.stringify(options),
      ]);
      const result = JSON.parse(stdout) as MemoryResult;
      stored ??= result;
      rows.push([
        name,
        mebibytes(result.linearBytes),
        (result.linearBytes / stored.linearBytes).toFixed(3),
        mebibytes(result.modelBytes),
        (result.modelBytes / stored.modelBytes).toFixed(3),
        mebibytes(result.residentBytes),
        mebibytes(result.peakBytes),
        result.stepMs.toFixed(0),
      ]);
    }
    const heads = [
      "linear MiB",
      "share",
      "model MiB",
      "share",
      "resident MiB",
      "peak MiB",
      "step ms",
    ];
    const columns = [
      { heading: "storage", align: "left" },
      ...heads.map((heading) => ({ heading, align: "right" }) as const),
    ] as const;
    for (const line of formatTable(columns, rows)) console.log(line);
  },
};
