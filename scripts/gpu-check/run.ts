/**
 * Holds a device against the CPU, and its speed against PyTorch's: one report, as JSON and Markdown. gpu-check.sh starts it.
 *
 * Every stage is a process of its own with a time limit; one that fails, crashes or is stopped leaves the others.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { printError } from "../../src/cli/print-error.js";
import { UserError } from "../../src/core/errors.js";
import { makeFolder } from "../../src/core/folder.js";
import { renderReport, type CheckReport, type StageReport } from "./report.js";
import { stageContext, type CheckSettings, type Row, type Stage } from "./stage.js";
import { check } from "./stages/check.js";
import { decode } from "./stages/decode.js";
import { devices } from "./stages/devices.js";
import { losses } from "./stages/losses.js";
import { ops } from "./stages/ops.js";
import { peers, steps } from "./stages/steps.js";

/** In the order in which they run: what is most worth knowing first. */
const stages: Readonly<Record<string, Stage>> = {
  devices,
  ops,
  check,
  losses,
  decode,
  steps,
  peers,
};

const usage = `usage: scripts/gpu-check.sh [--device=cuda|webgpu|openvino] [--device_dir=DIR] [--dry_run] [--stages=${Object.keys(stages).join(",")}]
       [--python=PY] [--out=DIR] [--work=DIR] [--limit=240]
  --dry_run   all but the card: the CPU provider and small shapes
  --python    with torch, transformers and peft, for the peers (default: python3, if it has them; empty: none)
  --out       where report.json and report.md go (default: gpu-check)
  --work      for models that are made: 17 GB (default: /dev/shm if it has room, else the temporary folder)
  --limit     seconds in all; what comes after is left out (a dry run: 1800)`;

const readSettings = () => {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      ...{ device: text, device_dir: text, python: text, out: text, work: text },
      ...{ stages: text, limit: text, stage: text, rows: text, settings: text },
      dry_run: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  return values;
};

const tail = (text: string): string => text.trim().split("\n").slice(-12).join("\n").slice(-3000);

const readRows = (path: string): readonly Row[] =>
  existsSync(path)
    ? readFileSync(path, "utf8")
        .split("\n")
        .flatMap((line) => {
          try {
            return [JSON.parse(line) as Row];
          } catch {
            // The last line of a process that was stopped.
            return [];
          }
        })
    : [];

const describeRow = (row: Row): string =>
  Object.entries(row)
    .filter(([name]) => name !== "ok")
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ");

const runStage = (
  name: string,
  { title, about, limit }: Stage,
  settings: CheckSettings,
  left: number,
): Promise<StageReport> => {
  const rows = join(settings.work, `${name}.jsonl`);
  const begun = performance.now();
  const seconds = Math.min(limit * (settings.dryRun ? 5 : 1), left);
  if (seconds < 3)
    return Promise.resolve({ name, title, about, state: "left out", seconds: 0, rows: [] });
  process.stdout.write(`\n## ${title} (${name})\n`);
  const child = spawn(
    process.execPath,
    [
      ...process.execArgv,
      ...[fileURLToPath(import.meta.url), `--stage=${name}`],
      ...[`--rows=${rows}`, `--settings=${JSON.stringify(settings)}`],
    ],
    // A group of its own, so that what it starts ends with it.
    { stdio: ["ignore", "pipe", "pipe"], detached: true },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream
      .setEncoding("utf8")
      .on("data", (text: string) => (output = (output + text).slice(-20000)));
  let wasStopped = false;
  const timer = setTimeout(() => {
    wasStopped = true;
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, seconds * 1000);
  return new Promise((finish) => {
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const found = readRows(rows);
      for (const row of found)
        process.stdout.write(`${row.ok === false ? "NOT OK " : "ok     "}${describeRow(row)}\n`);
      const failed = code !== 0;
      const state = wasStopped
        ? "stopped"
        : failed
          ? "failed"
          : found.some(({ ok }) => ok === false)
            ? "faults"
            : "ok";
      const report: StageReport = {
        ...{ name, title, about, state, rows: found },
        seconds: (performance.now() - begun) / 1000,
        ...(failed && {
          output: tail(`${output}\nended with ${signal ?? `exit code ${String(code)}`}`),
        }),
      };
      process.stdout.write(`${state}, ${report.seconds.toFixed(1)} s\n${report.output ?? ""}`);
      finish(report);
    });
  });
};

const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
};

const workFolder = (given: string | undefined, needed: number): string => {
  const place =
    given ?? (existsSync("/dev/shm") && freeBytes("/dev/shm") > needed ? "/dev/shm" : tmpdir());
  if (freeBytes(place) < needed)
    throw new UserError(
      `Cannot check a device: found ${(freeBytes(place) / 1e9).toFixed(0)} GB free in ${place}, expected ${(needed / 1e9).toFixed(0)} for the models that are made`,
      "Give another folder: --work=DIR",
    );
  return mkdtempSync(join(place, "hira-gpu-check-"));
};

const findPython = (given: string | undefined): string | undefined => {
  if (given === "") return undefined;
  const python = given ?? "python3";
  const { status } = spawnSync(python, ["-c", "import torch, transformers, peft"], {
    timeout: 120_000,
  });
  if (status === 0) return python;
  if (given !== undefined)
    throw new UserError(
      `Cannot compare with PyTorch: found no torch, transformers and peft in ${given}`,
      "Leave --python out, or give one that has them",
    );
  return undefined;
};

const commitOf = (): string =>
  spawnSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).stdout.trim() ||
  "unknown";

const runAll = async (values: ReturnType<typeof readSettings>): Promise<number> => {
  const begun = new Date();
  const device = values.dry_run ? "cpu" : (values.device ?? "cuda");
  const chosen = values.stages?.split(",") ?? Object.keys(stages);
  const odd = chosen.filter((name) => !Object.hasOwn(stages, name));
  if (odd.length > 0)
    throw new UserError(
      `Cannot check a device: found --stages=${odd.join(",")}, expected some of ${Object.keys(stages).join(", ")}`,
    );
  const out = resolve(values.out ?? "gpu-check");
  await makeFolder(out);
  const makesLarge = chosen.includes("steps") && !values.dry_run;
  const work = workFolder(values.work, makesLarge ? 18e9 : 5e8);
  const settings: CheckSettings = {
    ...{ device, deviceDir: values.device_dir, dryRun: values.dry_run, work },
    python: findPython(values.python),
  };
  const limit = Number(values.limit ?? (values.dry_run ? 1800 : 240));
  const elapsed = (): number => (Date.now() - begun.getTime()) / 1000;
  const reports: StageReport[] = [];
  let seconds = 0;
  const write = (): void => {
    const report: CheckReport = {
      ...{ begun: begun.toISOString(), device, dryRun: values.dry_run, stages: reports },
      machine: `${String(cpus().length)} x ${cpus()[0]?.model.trim() ?? "?"}`,
      ...{ commit: commitOf(), seconds },
    };
    writeFileSync(join(out, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(out, "report.md"), renderReport(report));
  };
  try {
    for (const name of chosen) {
      const stage = stages[name];
      if (stage) reports.push(await runStage(name, stage, settings, limit - elapsed()));
      seconds = elapsed();
      // After every stage: who stops the whole keeps what there is.
      write();
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  process.stdout.write(
    `\n${reports.map(({ name, state }) => `${name}: ${state}`).join(", ")}; ${seconds.toFixed(0)} s; ${join(out, "report.md")}\n`,
  );
  return reports.every(({ state }) => state === "ok") ? 0 : 1;
};

const main = async (): Promise<number> => {
  const values = readSettings();
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  if (values.stage === undefined) return runAll(values);
  const stage = stages[values.stage];
  if (!stage || !values.rows || !values.settings)
    throw new UserError(`Cannot run the stage ${values.stage}: gpu-check.sh starts stages itself`);
  await stage.run(stageContext(JSON.parse(values.settings) as CheckSettings, values.rows));
  return 0;
};

process.exitCode = await main().catch((error: unknown) =>
  printError(error, process.stderr, (_color, text) => text),
);
