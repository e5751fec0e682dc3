import {
  bestOf,
  trialName,
  type TrialResult,
  type TuningSpace,
} from "../distributed/autotuning-plan.js";
import type { AutotuningSettings } from "../distributed/autotuning-settings.js";
import { formatTable } from "./table.js";

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

const metricOf = (result: TrialResult | undefined, metric: AutotuningSettings["metric"]): string =>
  result?.measured?.[metric].toFixed(4) ?? "";

/** A row for each trial. */
export const trialTable = (results: readonly TrialResult[]): readonly string[] =>
  formatTable(
    [
      { heading: "trial", align: "left" },
      { heading: "batch", align: "right" },
      { heading: "grad_acc", align: "right" },
      { heading: "samples/s", align: "right" },
      { heading: "ms/step", align: "right" },
      { heading: "peak MiB by rank", align: "right" },
      { heading: "remark", align: "left" },
    ],
    results.map(({ trial, measured, remark }) => [
      trialName(trial),
      String(trial.batch),
      String(trial.gradAcc),
      measured?.throughput.toFixed(2) ?? "",
      measured?.latency.toFixed(1) ?? "",
      measured?.peakBytes.map(mebibytes).join(" ") ?? "",
      remark,
    ]),
  );

/** DeepSpeed's table: the best trial of each stage, and of all. */
export const summaryTable = (
  results: readonly TrialResult[],
  { stages }: TuningSpace,
  metric: AutotuningSettings["metric"],
): readonly string[] => {
  const spaces = [
    ...stages.map((stage) => ({
      name: `z${String(stage)}`,
      tried: results.filter(({ trial }) => trial.stage === stage),
    })),
    { name: "global", tried: results },
  ].filter(({ tried }) => tried.length > 0);
  const rows = spaces.map(({ name, tried }) => {
    const best = bestOf(tried, metric);
    return [
      name,
      String(tried.length),
      metricOf(best, metric),
      best ? trialName(best.trial) : "",
    ] as const;
  });
  const heading = ["tuning_space", "num_experiments", "best_metric_val", "best_exp_name"] as const;
  const widths = heading.map((text, i) =>
    Math.max(text.length, ...rows.map((row) => (row[i] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => (i === 0 || i === 3 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 || i === 3 ? `:${"-".repeat(width - 1)}` : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [line(heading), rule, ...rows.map(line)];
};
