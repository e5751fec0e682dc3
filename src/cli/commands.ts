import type { Command } from "./command.js";
import { dataSplitCommand } from "./commands/data-split.js";
import { scoreCommand } from "./commands/score.js";

/** Every command, in the order in which the help lists them. A line that starts with a flag is one of `train`. */
export const commands: readonly Command[] = [scoreCommand, dataSplitCommand];
