/** Every case of docs/performance.md in one run, beside PyTorch, peft and transformers. */
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, UserError } from "../../src/core/errors.js";
import { precisions } from "../../src/core/precision.js";
import type { ComputeChoice } from "../../src/runtime/compute-plan.js";
import {
  decodeCases,
  fixedCases,
  longCases,
  realCases,
  type AllContext,
  type AllSettings,
} from "./all-cases.js";
import { describeMachine, Report } from "./all-report.js";
import { startCases } from "./all-start.js";
import type { Bench } from "./bench.js";

const usage = `--model=DIR --python=PATH [--json FILE] [--data_dir=DIR] [--cases=start,decode,real,fixed,long] [--quick]
[--device=NAME] [--device_dir=DIR] [--precision=fp32|bf16|...] [--rounds=3] [--threads=N] [--rank=32] [--target_modules=...]
  start   from the shell to the first step, against a script with torch and peft (needs npm run build)
  decode  4 beams of 16 tokens for 16 prompts, and greedy decoding of one, against HF generate
  real    rows of ARC-Easy, batch 4, against the original with its padding and against peft with dynamic padding
  fixed   8 x 128, all labelled, against PyTorch eager and torch.compile; HiRA's step over LoRA's
  long    2 x 2,048, all labelled
  --device and --precision are what "our best precision" computes on; without them it is the default device's fp32.
  A contender is a process that stays; two take turns, a sample of the peer between two of ours; pairs during which other programs
  used more than 0.15 cores are measured again, up to once more each. FILE is rewritten after every case. A contender that fails is named.`;

const groups: Readonly<Record<string, (context: AllContext) => Promise<void>>> = {
  start: startCases,
  decode: decodeCases,
  real: realCases,
  fixed: fixedCases,
  long: longCases,
};

const readChoice = (values: {
  readonly device?: string | undefined;
  readonly device_dir?: string | undefined;
  readonly precision?: string | undefined;
}): ComputeChoice | undefined => {
  if (values.device === undefined && values.precision === undefined) return undefined;
  const { precision = "fp32" } = values;
  const known = precisions.find((one) => one === precision);
  if (known === undefined)
    throw new UserError(
      `Cannot measure: found --precision=${precision}, expected one of ${precisions.join(", ")}`,
    );
  return {
    precision: known,
    ...(values.device !== undefined && { device: values.device }),
    ...(values.device_dir !== undefined && { deviceDir: values.device_dir }),
  };
};

const run = async (argv: readonly string[]): Promise<void> => {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: text,
      python: text,
      json: text,
      data_dir: { ...text, default: "../shared/data/data_file" },
      cases: { ...text, default: Object.keys(groups).join(",") },
      quick: { type: "boolean", default: false },
      device: text,
      device_dir: text,
      precision: text,
      rounds: { ...text, default: "3" },
      threads: { ...text, default: String(availableParallelism()) },
      rank: { ...text, default: "32" },
      target_modules: { ...text, default: "q_proj,k_proj,v_proj,up_proj,down_proj" },
    },
  });
  const { model, python } = values;
  if (model === undefined || python === undefined)
    throw new UserError("Cannot measure: found no --model or no --python, expected both");
  const wanted = values.cases.split(",");
  const odd = wanted.filter((name) => !Object.hasOwn(groups, name));
  const numbers = [values.rounds, values.threads, values.rank].map(Number);
  if (odd.length > 0 || !numbers.every((number) => Number.isInteger(number) && number > 0))
    throw new UserError(
      `Cannot measure: found --cases=${values.cases}, --rounds, --threads, --rank ${numbers.join(", ")}, expected some of ${Object.keys(groups).join(",")} and whole numbers from 1`,
    );
  const [rounds = 3, threads = 1, rank = 32] = numbers;
  const settings: AllSettings = {
    ...{ python, rounds, threads, rank },
    model: resolve(model),
    dataDir: resolve(values.data_dir),
    quick: values.quick,
    targetModules: values.target_modules,
    best: readChoice(values),
  };
  const machine = await describeMachine();
  const { best, quick } = settings;
  const report = new Report(values.json, machine, {
    ...{ rounds, threads, rank, quick, best: best ?? null },
    target_modules: settings.targetModules,
  });
  console.log(JSON.stringify(machine));
  if (best === undefined)
    await report.missing(
      "hira in bf16",
      "no --device and --precision given: the default device's fp32 stands in",
    );
  const folder = await mkdtemp(join(tmpdir(), "hira-bench-"));
  try {
    for (const name of wanted) {
      const begun = performance.now();
      try {
        await groups[name]?.({ settings, report, folder });
      } catch (error) {
        await report.missing(`cases "${name}"`, messageOf(error));
      }
      process.stderr.write(`${name}: ${((performance.now() - begun) / 1000).toFixed(0)} s\n`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  report.print();
};

export const allBench: Bench = {
  summary:
    "every case of docs/performance.md beside PyTorch, peft and transformers, as one table and JSON",
  usage,
  run,
};
