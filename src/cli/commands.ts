import type { Command } from "./command.js";
import { compareCommand } from "./commands/compare.js";
import { dataCheckCommand } from "./commands/data-check.js";
import { dataFetchCommand } from "./commands/data-fetch.js";
import { dataListCommand } from "./commands/data-list.js";
import { dataSplitCommand } from "./commands/data-split.js";
import { doctorCommand } from "./commands/doctor.js";
import { exportCommand } from "./commands/export.js";
import { forwardCommand } from "./commands/forward.js";
import { generateCommand } from "./commands/generate.js";
import { launchCommandOf } from "./commands/launch.js";
import { mergeCommand } from "./commands/merge.js";
import { perplexityCommand } from "./commands/perplexity.js";
import { scoreCommand } from "./commands/score.js";
import { sweepCommand } from "./commands/sweep.js";
import { trainCommand } from "./commands/train.js";

// What computes is loaded when it is called: help, scores and mistakes need no ONNX Runtime.
const trainWork = async () => (await import("./train-work.js")).trainWork;

/** The command line that has started this process, without the arguments. */
const ownProgram = (): readonly string[] => [
  process.execPath,
  ...process.execArgv,
  process.argv[1] ?? "",
];

/** Every command, in the order in which the help lists them. A line that starts with a flag is one of `train`. */
export const commands: readonly Command[] = [
  trainCommand({
    train: async (...given) => (await trainWork()).train(...given),
    evaluate: async (...given) => (await trainWork()).evaluate(...given),
    analyseDataset: async (...given) => (await trainWork()).analyseDataset(...given),
  }),
  sweepCommand(ownProgram),
  launchCommandOf(ownProgram),
  scoreCommand,
  compareCommand,
  forwardCommand(async (...given) => (await import("../runs/run-forward.js")).runForward(...given)),
  generateCommand(async (...given) =>
    (await import("../runs/run-generation.js")).runGeneration(...given),
  ),
  perplexityCommand(async (...given) =>
    (await import("../runs/run-perplexity.js")).runPerplexity(...given),
  ),
  mergeCommand(async (...given) => (await import("../runs/run-merge.js")).runMerge(...given)),
  exportCommand(async (...given) => (await import("../runs/run-export.js")).runExport(...given)),
  doctorCommand({
    examine: async (...given) => (await import("../runs/doctor.js")).examineMachine(...given),
    check: async (...given) => (await import("../runs/run-doctor.js")).checkDeviceOnModel(...given),
  }),
  dataListCommand,
  dataFetchCommand(async (...given) =>
    (await import("../datasets/fetch-source.js")).fetchSource(...given),
  ),
  dataCheckCommand(async (...given) => (await import("../runs/check-data.js")).checkData(...given)),
  dataSplitCommand,
];
