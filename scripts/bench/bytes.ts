import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { UserError } from "../../src/core/errors.js";
import { trialVariables } from "../../src/cli/autotuning-trial.js";
import type { Bench } from "./bench.js";
import {
  hiraOfPaper,
  ringBytes,
  smolLm2,
  sentBytes,
  trafficOf,
  type Method,
  type Stage,
} from "./scale-model.js";

const worker = fileURLToPath(new URL("bytes-worker.ts", import.meta.url));

const methods: Readonly<Record<string, Method>> = {
  hira: hiraOfPaper,
  fft: { kind: "fft" },
};

/** What a run of `updates` has sent: handed to the group by rank 0, and over the wire by both ranks. */
const measure = (
  model: string,
  method: string,
  {
    stage,
    updates,
    folder,
  }: { readonly stage: Stage; readonly updates: number; readonly folder: string },
): { readonly counts: Readonly<Record<string, number>>; readonly wire: number } => {
  const config = join(folder, "ds.json");
  writeFileSync(config, JSON.stringify({ zero_optimization: { stage } }));
  const out = join(folder, "bytes.json");
  const argv = [
    ...[
      "train",
      `--peft_type=${method}`,
      `--model=${model}`,
      `--dataset=${join(folder, "rows.jsonl")}`,
    ],
    ...[
      `--validation=${join(folder, "rows.jsonl")}`,
      "--batch=2",
      `--max_steps=${String(updates)}`,
    ],
    ...["--eval_strategy=steps", "--eval_steps=1000", `--ds_config=${config}`, "--seed=1"],
    ...(method === "fft"
      ? []
      : ["--r_ab=32", "--target_modules=q_proj,k_proj,v_proj,up_proj,down_proj"]),
    `--output_folder=${join(folder, "runs")}`,
  ];
  const line = [
    ...["mpirun", ...(process.getuid?.() === 0 ? ["--allow-run-as-root"] : []), "--quiet"],
    ...["-n", "2", "--host", "localhost:2", "--mca", "btl", "tcp,self", "--bind-to", "none"],
    ...[
      "--mca",
      "btl_tcp_if_include",
      "lo",
      process.execPath,
      "--import=tsx",
      worker,
      out,
      ...argv,
    ],
  ];
  // A network of its own: nobody else's bytes are counted.
  const script = `sent() { awk '/lo:/ { print $10 }' /proc/net/dev; }
ip link set lo up; a=$(sent); "$@" >&2; c=$?; echo $(( $(sent) - a )); exit $c`;
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    ["-n", "sh", "-c", script, "sh", ...line],
    {
      encoding: "utf8",
      // A trial's run: nothing is saved or answered.
      env: {
        ...process.env,
        [trialVariables.steps]: String(updates),
        [trialVariables.folder]: folder,
      },
    },
  );
  if (status !== 0)
    throw new UserError(
      `Cannot count bytes: a run has ended with ${String(status)}\n${stderr.slice(-2000)}`,
    );
  const counts = JSON.parse(readFileSync(out, "utf8")) as Readonly<Record<string, number>>;
  return { counts, wire: Number(stdout) };
};

/** Bytes of an update of SmolLM2 in two processes, counted where they are handed over and on the wire, beside the formula. */
export const bytesBench: Bench = {
  summary: "bytes of an update in two processes: counted, on the wire, and by formula",
  usage:
    "--model=DIR (SmolLM2-135M) [--method=hira|fft] [--stages=0,1,2,3]   (Linux, root, Open MPI)",
  run(argv) {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        model: { type: "string" },
        method: { type: "string", default: "hira" },
        stages: { type: "string", default: "0,1,2,3" },
      },
    });
    const method = methods[values.method];
    if (values.model === undefined || method === undefined)
      throw new UserError("Cannot count bytes: expected --model=DIR and --method=hira or fft");
    const folder = mkdtempSync(join(tmpdir(), "hira-bytes-"));
    const row = JSON.stringify({ input_ids: [5, 6, 7, 8], labels: [5, 6, 7, 8] });
    writeFileSync(join(folder, "rows.jsonl"), `${Array(64).fill(row).join("\n")}\n`);
    console.log(
      "| | stage | handed to the group, MB | in a ring, MB a rank | on the wire, MB a rank | formula, MB a rank |",
    );
    console.log("| --- | --- | ---: | ---: | ---: | ---: |");
    for (const stage of values.stages.split(",").map(Number) as Stage[]) {
      const [few, many] = [1, 3].map((updates) =>
        measure(values.model ?? "", values.method, { stage, updates, folder }),
      );
      const each = (of: (run: typeof few) => number): number => (of(many) - of(few)) / 2;
      const names = Object.keys(many?.counts ?? {});
      const handed = names.map((name) => [name, each((run) => run?.counts[name] ?? 0)] as const);
      // Of a gather the group is given a process's own share, of the others the whole array.
      const ringOf: Readonly<Record<string, (bytes: number) => number>> = {
        sum: (bytes) => ringBytes.allReduce(bytes, 2),
        reduceScatter: (bytes) => ringBytes.reduceScatter(bytes, 2),
        allGather: (bytes) => ringBytes.allGather(2 * bytes, 2),
      };
      const ring = handed.reduce((sum, [name, bytes]) => sum + (ringOf[name]?.(bytes) ?? 0), 0);
      const cells = [
        handed
          .filter(([, bytes]) => bytes > 1000)
          .map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(2)}`)
          .join(", "),
        (ring / 1e6).toFixed(2),
        (each((run) => run?.wire ?? 0) / 2 / 1e6).toFixed(2),
        (sentBytes(trafficOf(smolLm2, method, { stage, microBatches: 1 }), 2) / 1e6).toFixed(2),
      ];
      console.log(`| SmolLM2, ${values.method} | ${String(stage)} | ${cells.join(" | ")} |`);
    }
    rmSync(folder, { recursive: true });
    return Promise.resolve();
  },
};
