/** What each of several processes holds of a training, by ZeRO's stage, and how long messages take. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { formatTable } from "../../src/cli/table.js";
import { UserError } from "../../src/core/errors.js";
import type { Bench } from "./bench.js";
import type { ZeroOptions, ZeroResult } from "./zero-worker.js";

type Stage = ZeroOptions["stage"];

/**
 * Bytes that a stage takes off each of `size` processes, of float32 values, gradients and both moments of `trainable` elements: all but
 * its share of the moments, in stage 2 of the gradients too, in stage 3 of the values too.
 *
 * Source: Rajbhandari et al., "ZeRO", section 5.
 */
export const savedBytes = (stage: Stage, trainable: number, size: number): number =>
  trainable * ([0, 8, 12, 16][stage] ?? 0) * (1 - 1 / size);

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);

const numbersIn = (text: string): readonly number[] => text.split(",").map(Number);

const runIn = async (processes: number, options: ZeroOptions): Promise<readonly ZeroResult[]> => {
  const worker = fileURLToPath(new URL("zero-worker.ts", import.meta.url));
  const line = [process.execPath, "--expose-gc", "--import=tsx", worker, JSON.stringify(options)];
  const isRoot = process.getuid?.() === 0;
  const launcher = [
    ...["mpirun", ...(isRoot ? ["--allow-run-as-root"] : []), "--oversubscribe"],
    ...["--bind-to", "none", "-n", String(processes)],
  ];
  const [program = "", ...argv] = processes === 1 ? line : [...launcher, ...line];
  const { stdout } = await promisify(execFile)(program, argv, { maxBuffer: 1 << 24 });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "[]") as readonly ZeroResult[];
};

const columns = [
  ...["processes", "stage", "overlap"].map((heading) => ({ heading, align: "right" as const })),
  ...["held MB", "peak MB", "less held", "by arithmetic", "step ms", "messages ms", "sent MB"].map(
    (heading) => ({ heading, align: "right" as const }),
  ),
];

/** `npm run bench -- zero`. */
export const zeroBench: Bench = {
  summary: "Memory of each of several processes by ZeRO's stage, and the time of their messages",
  usage: `--model=DIR [--method=fft|hira] [--processes=1,2] [--stages=0,1,2,3] [--batch=1] [--columns=32] [--steps=3] [--json=FILE]
  held      the process's own memory after an update, files' pages not counted; of the process that holds most
  less held than stage 0 of as many processes; by arithmetic: of values, gradients and moments, 16 bytes an element that trains
  messages  the time that collective calls took in the fastest update, waiting included; with overlap it runs beside the layers`,
  async run(argv) {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      args: [...argv],
      options: {
        ...{ model: text, json: text, method: { ...text, default: "fft" } },
        processes: { ...text, default: "1,2" },
        stages: { ...text, default: "0,1,2,3" },
        ...{ batch: { ...text, default: "1" }, columns: { ...text, default: "32" } },
        steps: { ...text, default: "3" },
      },
    });
    const { model, method } = values;
    if (model === undefined) throw new UserError("Cannot measure stages: found no --model");
    if (method !== "fft" && method !== "hira")
      throw new UserError(`Cannot measure --method=${method}: expected fft or hira`);
    const rows: string[][] = [];
    const found: object[] = [];
    for (const processes of numbersIn(values.processes)) {
      let whole: number | undefined;
      const stages = processes === 1 ? [0] : numbersIn(values.stages);
      for (const stage of stages as readonly Stage[])
        for (const overlaps of stage > 1 ? [false, true] : [false]) {
          const results = await runIn(processes, {
            ...{ model, method, stage, overlaps, batch: Number(values.batch) },
            ...{ columns: Number(values.columns), steps: Number(values.steps) },
            threads: Math.max(1, Math.floor(cpus().length / processes)),
          });
          const most = (of: (result: ZeroResult) => number): number => Math.max(...results.map(of));
          const held = most(({ heldBytes }) => heldBytes);
          whole ??= held;
          const trainable = results[0]?.trainable ?? NaN;
          const saved = savedBytes(stage, trainable, processes);
          found.push({ processes, stage, overlaps, saved, results });
          rows.push([
            ...[String(processes), String(stage), overlaps ? "on" : "off", megabytes(held)],
            megabytes(most(({ peakBytes }) => peakBytes)),
            stage === 0 ? "" : megabytes(whole - held),
            stage === 0 ? "" : megabytes(saved),
            most(({ stepMs }) => stepMs).toFixed(0),
            most(({ messageMs }) => messageMs).toFixed(0),
            megabytes(most(({ messageBytes }) => messageBytes)),
          ]);
          if (values.json !== undefined)
            writeFileSync(
              values.json,
              `${JSON.stringify({ processor: cpus()[0]?.model, found }, undefined, 2)}\n`,
            );
        }
    }
    for (const line of formatTable(columns, rows)) console.log(line);
  },
};
