import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { requireWritableFolder, writeFileAtomically } from "../core/atomic-file.js";
import { UserError, userErrorOfFaults } from "../core/errors.js";
import { readJsonObject } from "../core/json-file.js";
import { shellLine } from "../core/shell-line.js";
import {
  bestOf,
  isBetter,
  planTuning,
  trialName,
  type TrialResult,
  type TuningSpace,
} from "../distributed/autotuning-plan.js";
import { readAutotuning } from "../distributed/autotuning-settings.js";
import { Reading } from "../distributed/ds-config-reading.js";
import { readArguments } from "./arguments.js";
import { summaryTable, trialTable } from "./autotune-table.js";
import { configOf, flagsOf, json, Trials, type Autotuning } from "./autotune-trials.js";
import { configFlag, readConfigFile } from "./config-file.js";
import { trainFlags } from "./train-flags.js";

/** The best setting that was found. */
export interface Tuned {
  /** The flags that say it. */
  readonly flags: readonly string[];
  /** The line with them. */
  readonly line: readonly string[];
}

/** What the line says of what is tuned, by its flags and its --config file. */
const readLine = async (
  line: readonly string[],
): Promise<{ readonly batch: number; readonly gradAcc: number; readonly dsConfig: string }> => {
  const [command = "", ...words] = line;
  if (command !== "train" && !command.startsWith("-"))
    throw new UserError(
      `Cannot tune ${JSON.stringify(command)}: expected a line of training`,
      "For example: hira launch --autotuning=tune train_hira.py --ds_config=ds_configs/ds_config_tune.json ...",
    );
  const { canonical } = readArguments(command === "train" ? words : line, {
    ...trainFlags,
    ...configFlag,
  });
  const typed = new Map(
    canonical.flatMap((word) => {
      const [, name, value] = /^--(\w+)=([^]*)$/.exec(word) ?? [];
      return name === undefined ? [] : [[name, value ?? ""] as const];
    }),
  );
  const config = typed.get("config");
  const texts = config === undefined ? {} : (await readConfigFile(config, trainFlags)).texts;
  const textOf = (name: string): string | undefined => {
    const text = typed.get(name) ?? texts[name];
    return typeof text === "string" ? text : undefined;
  };
  // What is wrong with a number the trials say.
  const count = (name: "batch" | "grad_acc"): number => {
    const value = Number(textOf(name) ?? trainFlags[name].default);
    return Number.isSafeInteger(value) && value > 0 ? value : 1;
  };
  const dsConfig = textOf("ds_config");
  if (dsConfig === undefined)
    throw new UserError(
      "Cannot tune: found no --ds_config in the line, expected a file with a block autotuning",
      "For example: --ds_config=ds_configs/ds_config_tune.json",
    );
  return { batch: count("batch"), gradAcc: count("grad_acc"), dsConfig };
};

/** Goes through the space as DeepSpeed does: a stage that is no better than the one before it is the last. */
const explore = async (trials: Trials, { stages, microBatches }: TuningSpace): Promise<void> => {
  const { settings, results } = trials;
  let before: TrialResult | undefined;
  for (const stage of stages) {
    let best: TrialResult | undefined;
    let since = 0;
    for (const micro of microBatches) {
      if (results.length >= settings.trials || since >= settings.earlyStopping) break;
      const result = await trials.run({ stage, ...micro });
      // Larger ones would not run either.
      if (!result.measured && best) break;
      const better = isBetter(result, best, settings.metric);
      since = better ? 0 : since + 1;
      if (better) best = result;
    }
    if (before && !(best && isBetter(best, before, settings.metric))) break;
    before = best ?? before;
  }
};

/**
 * Tries micro-batches, and stages of ZeRO where there are several processes, in short runs of the line on its own data, and writes
 * what DeepSpeed's autotuner writes: a folder a trial, summary.txt, ds_config_optimal.json and cmd_optimal.txt, and results.json.
 *
 * A trial that fails is a row. One that would not fit into memory, going by two that were measured, is not tried.
 * @throws {UserError} on what is wrong with line or file, and where no trial has worked
 */
export const autotune = async (job: Autotuning): Promise<Tuned> => {
  const { batch, gradAcc, dsConfig } = await readLine(job.line);
  const file = await readJsonObject(dsConfig);
  const reading = new Reading();
  const settings = readAutotuning(file, reading);
  if (!settings.enabled)
    reading.faults.push("autotuning.enabled: found false or nothing, expected true");
  const line = { ...{ file, settings, batch, gradAcc }, processes: job.processes };
  const space = planTuning(line, reading.faults);
  if (reading.faults.length > 0)
    throw userErrorOfFaults(
      `Cannot tune by --ds_config ${dsConfig}`,
      reading.faults,
      [...reading.hints].join("\n") || undefined,
    );
  for (const text of reading.lines) job.warn(`${dsConfig}: ${text}`);
  const results = resolve(settings.resultsDir);
  for (const folder of [results, resolve(settings.expsDir)]) {
    await requireWritableFolder(dirname(folder));
    await mkdir(folder, { recursive: true });
  }
  const trials = new Trials(job, file, settings);
  const started = performance.now();
  await explore(trials, space);
  const seconds = (performance.now() - started) / 1000;
  const tables = [
    ...trialTable(trials.results),
    "",
    ...summaryTable(trials.results, space, settings.metric),
    "",
    `Tuning completed in ${seconds.toFixed(1)} s. Total number of experiments: ${String(trials.results.length)}.`,
  ];
  for (const text of ["", ...tables]) job.show(text);
  await writeFileAtomically(join(results, "summary.txt"), `${tables.join("\n")}\n`);
  const best = bestOf(trials.results, settings.metric);
  await writeFileAtomically(
    join(results, "results.json"),
    json({
      metric: settings.metric,
      processes: job.processes,
      best: best ? trialName(best.trial) : null,
      trials: trials.results.map(({ trial, measured = null, remark }) => ({
        ...{ name: trialName(trial), ...trial, measured, remark },
      })),
    }),
  );
  if (!best)
    throw new UserError(
      `Cannot tune: found no trial that has worked; the first: ${trials.results[0]?.remark ?? ""}`,
      `What each has printed is in ${results}`,
    );
  const config = join(results, "ds_config_optimal.json");
  await writeFileAtomically(config, json(configOf(file, best.trial, job.processes)));
  const flags = flagsOf(best.trial, config);
  const tuned = { flags, line: [...job.line, ...flags] };
  await writeFileAtomically(
    join(results, "cmd_optimal.txt"),
    `${shellLine(job.start(tuned.line, process.env))}\n`,
  );
  job.show(`Best: ${shellLine(flags)}`);
  const [whole, before] = [best.trial.batch * best.trial.gradAcc, batch * gradAcc];
  if (whole !== before)
    job.show(
      `An update has ${String(whole * job.processes)} rows then, in place of ${String(before * job.processes)}: DeepSpeed advises a rate of --lr times ${Math.sqrt(whole / before).toFixed(3)}`,
    );
  return tuned;
};
