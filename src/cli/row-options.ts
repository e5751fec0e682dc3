import { isDatasetFile } from "../datasets/registry.js";
import type { TaskName } from "../train/tasks/task.js";
import type { TrainFlagValues } from "./train-flags.js";

/** Which rows are read and how, wherever a command reads them. */
export interface RowOptions {
  /** Undefined: what resolveDataRoot finds. */
  readonly dataDir: string | undefined;
  /** A name of the data set table, or what `datasetFile` says. */
  readonly dataset: string;
  /** A file of rows: of token ids, or of text. */
  readonly datasetFile: string | undefined;
  readonly validation: string | undefined;
  /** Undefined: the set tells. */
  readonly task: TaskName | undefined;
  readonly promptField: string | undefined;
  readonly targetField: string | undefined;
  readonly template: string | undefined;
  readonly maxLength: number | undefined;
  readonly datasetRatio: number;
  readonly useInput: boolean;
  /** Tokens in a block of running text. */
  readonly blockSize: number | undefined;
  readonly numWorkers: number;
}

type RowFlags = Pick<
  TrainFlagValues,
  | "data_dir"
  | "validation"
  | "task"
  | "prompt_field"
  | "target_field"
  | "template"
  | "max_length"
  | "block_size"
  | "use_input"
  | "dataset_ratio"
  | "num_workers"
>;

/** The options of a --dataset's rows from their flags. */
export const readRowOptions = (values: RowFlags, dataset: string): RowOptions => ({
  dataset,
  datasetFile: isDatasetFile(dataset) ? dataset : undefined,
  dataDir: values.data_dir ?? undefined,
  validation: values.validation ?? undefined,
  task: (values.task ?? undefined) as TaskName | undefined,
  promptField: values.prompt_field ?? undefined,
  targetField: values.target_field ?? undefined,
  template: values.template ?? undefined,
  maxLength: values.max_length ?? undefined,
  blockSize: values.block_size ?? undefined,
  useInput: values.use_input,
  datasetRatio: values.dataset_ratio,
  numWorkers: values.num_workers,
});
