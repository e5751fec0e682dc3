import { runForward } from "../evaluate/run-forward.js";
import { runGeneration } from "../evaluate/run-generation.js";
import type { Command } from "./command.js";
import { dataSplitCommand } from "./commands/data-split.js";
import { forwardCommand } from "./commands/forward.js";
import { generateCommand } from "./commands/generate.js";
import { scoreCommand } from "./commands/score.js";
import { trainCommand } from "./commands/train.js";
import { trainWork } from "./train-work.js";

/** Every command, in the order in which the help lists them. A line that starts with a flag is one of `train`. */
export const commands: readonly Command[] = [
  trainCommand(trainWork),
  scoreCommand,
  forwardCommand(runForward),
  generateCommand(runGeneration),
  dataSplitCommand,
];
