/** Reads a `hira train` command line for the programs of this folder, so that they see the run that the flags describe. */
import { basename } from "node:path";
import { trainCommand } from "../../src/cli/commands/train.js";
import { main } from "../../src/cli/main.js";
import type { TrainOptions } from "../../src/cli/train-options.js";
import { UserError } from "../../src/core/errors.js";
import { fillStore, requirePeftType } from "../../src/runs/prepare-run.js";
import type { Adapter } from "../../src/peft/adapter.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import type { ProgressUi } from "../../src/report/progress.js";
import { loadBase, type BaseModel } from "../../src/train/load-base.js";
import { requireModelName } from "../../src/train/model-name.js";
import type { ParameterStore } from "../../src/train/parameters.js";

/** A run as far as it stands before its first step. */
export interface PreparedRun {
  readonly options: TrainOptions;
  readonly base: BaseModel;
  readonly adapter: Adapter;
  readonly store: ParameterStore;
  readonly ui: ProgressUi;
}

/**
 * Runs a program whose arguments are a place to write to and then the flags of `hira train`.
 *
 * Faults in the flags and in the model are told, and end the process, as in `hira` itself.
 */
export const withTrainingRun = async (
  work: (out: string, run: PreparedRun) => Promise<void>,
): Promise<void> => {
  const [, program = "", out, ...flags] = process.argv;
  if (out === undefined || out.startsWith("-")) {
    console.error(`usage: npx tsx ${basename(program)} OUT FLAGS_OF_HIRA_TRAIN...`);
    process.exitCode = 2;
    return;
  }
  const refuse = async (): Promise<void> => {
    throw new UserError("Cannot prepare a run: found --ckpt or --dataset_analysis");
  };
  const command = trainCommand({
    async train(options, ui) {
      const peftType = requirePeftType(options.peftType);
      const tokenizer = options.datasetFile === undefined ? "required" : "optional";
      const base = await loadBase(
        requireModelName(options.modelName),
        { ...options, tokenizer },
        ui,
      );
      const { model } = base.folder;
      const adapter = buildAdapter(peftType, model, options, options.compat, base.tokenizer);
      const store = await fillStore(base, adapter, options, ui, {});
      await work(out, { options, base, adapter, store, ui });
    },
    evaluate: refuse,
    analyseDataset: refuse,
  });
  process.exitCode = await main(["train", ...flags], { commands: [command] });
};
