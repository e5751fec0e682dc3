/** One training step beside PyTorch's: time and peak memory, every contender in processes of its own, taking turns. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { formatTable } from "../../src/cli/table.js";
import { UserError } from "../../src/core/errors.js";
import { median } from "../../src/core/median.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { readSteps, writeSteps, type StoredStep } from "../reference/batch-file.js";
import type { Bench } from "./bench.js";
import { watchOthers } from "./busy.js";
import { benchMethods, type BenchMethod } from "./methods.js";
import { padAsOriginal, randomSteps } from "./step-batches.js";
import type { WorkerOptions, WorkerResult } from "./step-worker.js";

const usage = `--model=DIR [--python=PATH] [--cases=targets,all,real] [--batches=DIR] [--rounds=3] [--steps=5] [--warmup=2]
[--batch=8] [--columns=128] [--targets=8] [--storage=stored,float32] [--attention=eager,sdpa] [--rank=32]
[--methods=hira,lora,rslora,dora,mora,hilora] [--target_modules=...] [--threads=N] [--checkpointing]
  targets  --batch rows of --columns tokens, the last --targets of each labelled; PyTorch's head runs on these alone, as ours
  all      the same with every token labelled
  real     the first --steps updates of --batches, which scripts/reference/export-batches.ts wrote; PyTorch with the original's
           padding (256 + 16 columns) and with ours, its head at every position as in the original
  Several --methods take turns, each compared with the last one named; PyTorch trains HiRA alone.
  Without --python only hira is measured. "others" are the cores that other programs used meanwhile: where they are not near 0,
  the times say little.`;

const caseNames = ["targets", "all", "real"] as const;

interface Settings {
  readonly model: string;
  readonly python: string | undefined;
  readonly cases: readonly (typeof caseNames)[number][];
  readonly batches: string | undefined;
  readonly rounds: number;
  readonly steps: number;
  readonly warmup: number;
  readonly batch: number;
  readonly columns: number;
  readonly targets: number;
  readonly storage: readonly WorkerOptions["storage"][];
  readonly attention: readonly WorkerOptions["attention"][];
  readonly methods: readonly BenchMethod[];
  readonly rank: number;
  readonly targetModules: string;
  readonly threads: number;
  readonly checkpointing: boolean;
}

const readSettings = (argv: readonly string[]): Settings => {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: text,
      python: text,
      batches: text,
      cases: { ...text, default: "targets" },
      rounds: { ...text, default: "3" },
      steps: { ...text, default: "5" },
      warmup: { ...text, default: "2" },
      batch: { ...text, default: "8" },
      columns: { ...text, default: "128" },
      targets: { ...text, default: "8" },
      storage: { ...text, default: "stored" },
      attention: { ...text, default: "eager" },
      methods: { ...text, default: "hira" },
      rank: { ...text, default: "32" },
      target_modules: { ...text, default: "q_proj,k_proj,v_proj,up_proj,down_proj" },
      threads: { ...text, default: String(availableParallelism()) },
      checkpointing: { type: "boolean", default: false },
    },
  });
  const list = <T extends string>(
    name: "cases" | "storage" | "attention" | "methods",
    known: readonly T[],
  ): readonly T[] => {
    const given = values[name].split(",");
    const names = given.flatMap((each) => known.find((one) => one === each) ?? []);
    const odd = given.filter((each) => !names.some((one) => one === each));
    if (odd.length > 0)
      throw new UserError(
        `Cannot measure steps: found ${odd.join(", ")} in --${name}, expected some of ${known.join(", ")}`,
      );
    return names;
  };
  const whole = (
    name: "rounds" | "steps" | "warmup" | "batch" | "columns" | "targets" | "rank" | "threads",
  ) => {
    const number = Number(values[name]);
    if (!Number.isInteger(number) || number < (name === "warmup" ? 0 : 1))
      throw new UserError(
        `Cannot measure steps: found --${name}=${values[name]}, expected a whole number from 1`,
      );
    return number;
  };
  if (values.model === undefined) throw new UserError("Cannot measure steps: found no --model");
  const cases = list("cases", caseNames);
  if (cases.includes("real") && values.batches === undefined)
    throw new UserError(
      "Cannot measure real batches: found no --batches",
      "Write them first: npx tsx scripts/reference/export-batches.ts DIR FLAGS_OF_HIRA_TRAIN...",
    );
  return {
    model: values.model,
    python: values.python,
    batches: values.batches,
    cases,
    storage: list("storage", ["stored", "float32"]),
    attention: list("attention", ["eager", "sdpa"]),
    methods: list("methods", benchMethods),
    rounds: whole("rounds"),
    steps: whole("steps"),
    warmup: whole("warmup"),
    batch: whole("batch"),
    columns: whole("columns"),
    targets: whole("targets"),
    rank: whole("rank"),
    threads: whole("threads"),
    targetModules: values.target_modules,
    checkpointing: values.checkpointing,
  };
};

interface Contender {
  readonly label: string;
  readonly program: "hira" | "PyTorch";
  readonly method: BenchMethod;
  readonly options: WorkerOptions;
}

interface BenchCase {
  readonly title: string;
  readonly contenders: readonly Contender[];
}

/** Writes the batches of a case into `folder` and lists who runs on them. */
const prepareCase = async (
  name: string,
  settings: Settings,
  folder: string,
): Promise<BenchCase> => {
  const { model, warmup, rank, targetModules, threads, checkpointing } = settings;
  const common = { model, warmup, rank, targetModules, threads, checkpointing };
  const write = async (file: string, steps: readonly StoredStep[]): Promise<string> => {
    const path = join(folder, `${name}-${file}.jsonl`);
    await writeSteps(path, steps);
    return path;
  };
  const ours = (batches: string): Contender[] =>
    settings.methods.flatMap((method) =>
      settings.storage.map((storage): Contender => ({
        label: `hira, ${settings.methods.length > 1 ? `${method}, ` : ""}weights ${storage === "stored" ? "as stored" : "in float32"}`,
        program: "hira",
        method,
        options: { ...common, method, batches, storage, attention: "eager", logits: "labelled" },
      })),
    );
  const theirs = (batches: string, logits: WorkerOptions["logits"], what: string): Contender[] =>
    settings.python === undefined
      ? []
      : settings.attention.map((attention) => ({
          label: `PyTorch, ${attention} attention${what}`,
          program: "PyTorch",
          method: "hira",
          options: { ...common, method: "hira", batches, storage: "float32", attention, logits },
        }));
  if (name !== "real") {
    const folder = await loadModelFolder(model);
    const targets = name === "all" ? settings.columns : settings.targets;
    const batches = await write("fixed", randomSteps(settings, targets, folder.model.vocabSize));
    return {
      title: `${name}: ${String(settings.batch)} x ${String(settings.columns)} tokens, ${name === "all" ? "all" : `the last ${String(targets)} of a row`} labelled`,
      contenders: [...ours(batches), ...theirs(batches, "labelled", "")],
    };
  }
  const from = settings.batches ?? "";
  const { pad_id: padId } = JSON.parse(await readFile(join(from, "run.json"), "utf8")) as {
    readonly pad_id: number;
  };
  const steps = await readSteps(join(from, "train.jsonl"), settings.steps);
  const given = await write("given", steps);
  const wide = await write(
    "original",
    steps.map(({ step, batches }) => ({
      step,
      batches: batches.map((batch) => padAsOriginal(batch, padId)),
    })),
  );
  const columns = steps.flatMap(({ batches }) =>
    batches.map(({ labels }) => labels[0]?.length ?? 0),
  );
  const rows = steps.flatMap(({ batches }) => batches.map(({ labels }) => labels.length));
  return {
    title: `real: ${String(steps.length)} updates, batches of ${String(Math.max(...rows))} rows by ${String(Math.min(...columns))} to ${String(Math.max(...columns))} columns`,
    contenders: [
      ...ours(given),
      ...theirs(wide, "all", ", the original's padding"),
      ...theirs(given, "all", ", our batches"),
    ],
  };
};

interface Run extends WorkerResult {
  /** Cores that other programs used meanwhile, on average. */
  readonly othersCores: number;
}

const worker = fileURLToPath(new URL("step-worker.ts", import.meta.url));
const peer = fileURLToPath(new URL("../reference/step_peer.py", import.meta.url));

/** Runs a contender in a process of its own. */
const runContender = async (
  { program, label, options }: Contender,
  python: string | undefined,
): Promise<Run> => {
  const text = JSON.stringify(options);
  const [command, argv] =
    program === "hira"
      ? [process.execPath, [...process.execArgv, worker, text]]
      : [python ?? "python3", [peer, text]];
  const othersSince = watchOthers();
  let stdout: string;
  try {
    ({ stdout } = await promisify(execFile)(command, argv, { maxBuffer: 1 << 24 }));
  } catch (error) {
    const { stderr = "" } = error as { readonly stderr?: string };
    throw new UserError(`Cannot measure ${label}: its process failed\n${stderr.slice(-2000)}`);
  }
  const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as WorkerResult;
  return { ...result, othersCores: othersSince(result.cpuMs) };
};

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Mean over the steps of each step's median, and of its least time, over the rounds. */
const summarize = ({ label, program, method }: Contender, runs: readonly Run[]) => {
  const steps = (runs[0]?.milliseconds ?? []).map((_, step) =>
    runs.map(({ milliseconds }) => milliseconds[step] ?? NaN),
  );
  return {
    label,
    program,
    method,
    medianMs: mean(steps.map(median)),
    minMs: mean(steps.map((times) => Math.min(...times))),
    peakBytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)),
    othersCores: Math.max(...runs.map(({ othersCores }) => othersCores)),
    firstLoss: runs[0]?.firstLoss ?? NaN,
    version: runs[0]?.version ?? "",
  };
};

type Summary = ReturnType<typeof summarize>;

/** The first over the second, below 1 where it takes less: ours over PyTorch's, and each method's over the last one's. */
const ratiosOf = (summaries: readonly Summary[]) => {
  const ours = summaries.filter(({ program }) => program === "hira");
  const last = ours.at(-1)?.method;
  return ours.flatMap((first) =>
    summaries
      .filter(({ program, method }) =>
        program === "PyTorch"
          ? method === first.method
          : method === last && method !== first.method,
      )
      .map((second) => ({
        first: first.label,
        second: second.label,
        median: first.medianMs / second.medianMs,
        min: first.minMs / second.minMs,
        peak: first.peakBytes / second.peakBytes,
      })),
  );
};

const printTable = (headings: readonly string[], rows: readonly (readonly string[])[]): void => {
  const columns = headings.map(
    (heading, i) => ({ heading, align: i === 0 ? "left" : "right" }) as const,
  );
  for (const line of formatTable(columns, rows)) console.log(line);
};

/** @throws {UserError} where contenders computed different losses from the same batches */
const checkSameWork = (summaries: readonly Summary[]): void => {
  const [first] = summaries;
  const odd = summaries.filter(
    ({ firstLoss }) => !(Math.abs(firstLoss / (first?.firstLoss ?? NaN) - 1) < 1e-3),
  );
  if (odd.length > 0)
    throw new UserError(
      `Cannot compare: found first losses ${summaries.map(({ label, firstLoss }) => `${String(firstLoss)} (${label})`).join(", ")}, expected equal ones`,
    );
};

const measureCase = async (name: string, settings: Settings, folder: string): Promise<void> => {
  const { title, contenders } = await prepareCase(name, settings, folder);
  console.log(`\n${title}`);
  const runs = new Map<Contender, Run[]>(contenders.map((contender) => [contender, []]));
  for (let round = 0; round < settings.rounds; round++) {
    // There and back again, so that a drift of the machine meets all alike.
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const run = await runContender(contender, settings.python);
      runs.get(contender)?.push(run);
      process.stderr.write(
        `  round ${String(round + 1)}: ${contender.label}: ${median(run.milliseconds).toFixed(0)} ms, ${run.othersCores.toFixed(2)} cores taken by others\n`,
      );
    }
  }
  const summaries = contenders.map((contender) => summarize(contender, runs.get(contender) ?? []));
  printTable(
    ["", "median ms", "min ms", "peak MiB", "others"],
    summaries.map(({ label, medianMs, minMs, peakBytes, othersCores }) => [
      label,
      medianMs.toFixed(0),
      minMs.toFixed(0),
      (peakBytes / 2 ** 20).toFixed(0),
      othersCores.toFixed(2),
    ]),
  );
  checkSameWork(summaries);
  const ratios = ratiosOf(summaries);
  if (ratios.length > 0) {
    console.log("");
    printTable(
      ["first / second", "median", "min", "peak"],
      ratios.map(({ first, second, median: middle, min, peak }) => [
        `${first} / ${second}`,
        middle.toFixed(2),
        min.toFixed(2),
        peak.toFixed(2),
      ]),
    );
  }
  const { threads, rounds, steps, warmup, rank, checkpointing } = settings;
  const host = { cpu: cpus()[0]?.model ?? "", cores: cpus().length, node: process.version };
  console.log(
    JSON.stringify({
      bench: "step",
      case: name,
      title,
      contenders: summaries,
      ratios,
      settings: { threads, rounds, steps, warmup, rank, checkpointing },
      host,
    }),
  );
};

export const stepBench: Bench = {
  summary: "a training step of HiRA, or of several methods, beside PyTorch's: time and peak memory",
  usage,
  async run(argv) {
    const settings = readSettings(argv);
    if (settings.python === undefined)
      console.log("No --python: only hira is measured, and nothing is compared");
    const folder = await mkdtemp(join(tmpdir(), "hira-bench-"));
    try {
      for (const name of settings.cases) await measureCase(name, settings, folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
