import { writeOutputJsonl, type OutputFile } from "../report/output-jsonl.js";
import { currentMemoryBytes } from "../runtime/memory.js";
import type { TrainedModel } from "./open-trained.js";
import { countParameters, outputConfigOf, type HiraFlags } from "./output-header.js";
import type { ChoiceForm } from "./choices.js";

/** What of an evaluation stands in the names of its files. */
export interface NamedEvaluation {
  readonly loadOrder: number;
  readonly maxNewTokens: number | undefined;
  readonly beamSize: number | undefined;
  readonly useInput?: boolean;
  /** Default: "words". */
  readonly choices?: ChoiceForm;
}

/**
 * The name of an evaluation file: output_<order>_<dataset>[_prob][_maxT=n][_beam=n][_input]_eval.jsonl, with the last parts only where
 * --max_new_tokens, --beam_size and --use_input were given.
 * Source: the --ckpt branch of train_hira.py, which has no --use_input.
 */
export const evaluationFileName = (
  { loadOrder, maxNewTokens, beamSize, useInput }: Omit<NamedEvaluation, "choices">,
  dataset: string,
): string =>
  [
    `output_${String(loadOrder)}_${dataset}`,
    // The original's name for MMLU, however it is answered.
    ...(dataset === "mmlu" ? ["prob"] : []),
    ...(maxNewTokens === undefined ? [] : [`maxT=${String(maxNewTokens)}`]),
    ...(beamSize === undefined ? [] : [`beam=${String(beamSize)}`]),
    ...(useInput === true ? ["input"] : []),
    "eval.jsonl",
  ].join("_");

/** The name of a file of answers by likelihood; how answers are written does not matter to it. */
export const likelihoodFileName = (
  {
    loadOrder,
    useInput,
    choices = "words",
  }: Pick<NamedEvaluation, "loadOrder" | "choices" | "useInput">,
  dataset: string,
): string =>
  [
    `output_${String(loadOrder)}_${dataset}`,
    ...(useInput === true ? ["input"] : []),
    `loglik${choices === "words" ? "" : `-${choices.replace("words-", "")}`}`,
    "eval.jsonl",
  ].join("_");

/** The flags that a trained model brings with it, over the command line's. */
const replacedFlags = ({
  runFlags,
  adapted,
  modelName,
}: TrainedModel): Readonly<Record<string, unknown>> => {
  if (!runFlags) return { peft_type: adapted?.adapter.method.name ?? null, model_name: modelName };
  const names = ["peft_type", "model_name", "r_ab", "rand_R", "target_modules"];
  return Object.fromEntries(
    names.filter((name) => runFlags[name] !== undefined).map((name) => [name, runFlags[name]]),
  );
};

/** What the training run said of A and B; an adapter without a run has the usual start values. */
const hiraFlagsOf = ({ adapted, runFlags }: TrainedModel): HiraFlags => {
  const text = (name: string, fallback: string) => {
    const value = runFlags?.[name];
    return typeof value === "string" ? value : fallback;
  };
  const names = (list: string) => list.split(",").map((name) => name.trim());
  const targets = adapted?.adapter.targets ?? [];
  const adaptedNames = new Set(targets.map(({ path }) => path.split(".").at(-1) ?? path));
  return {
    init: text("init_ab", "kaiming,zero"),
    train: text("train_ab", "yy"),
    targetModules: names(text("target_modules", [...adaptedNames].join(","))),
  };
};

/** Writes a file of answers with its header. */
export const writeAnswers = (
  path: string,
  model: TrainedModel,
  originalFlags: (replaced: Readonly<Record<string, unknown>>) => OutputFile["flags"],
  rows: OutputFile["rows"],
  accuracyPercent?: number,
): Promise<void> =>
  writeOutputJsonl(path, {
    flags: originalFlags(replacedFlags(model)),
    adapterConfig: outputConfigOf(
      model.base,
      model.adapted?.adapter,
      model.modelName,
      hiraFlagsOf(model),
    ),
    summary:
      accuracyPercent === undefined
        ? { memUsedMiB: Math.round(currentMemoryBytes() / 2 ** 20), trainSeconds: -1 }
        : { accuracyPercent },
    parameters: countParameters(model.base, model.adapted?.adapter),
    rows,
  });
