import type { ProcessGroup } from "../distributed/process-group.js";
import type { ProgressUi } from "../report/progress.js";
import type { RunFacts } from "../report/run-json.js";
import { isClassifier } from "../models/classifier.js";
import type { Planned } from "../runtime/compute-plan.js";
import type { InterruptSignal } from "../train/interrupt.js";
import { requireModelName } from "../train/model-name.js";
import { trainAdapter, type TrainingEvents } from "../train/train-adapter.js";
import { checkBeforeTraining } from "./check-training.js";
import { classifyRows } from "./classify.js";
import { openPredictor, answerSet } from "./predict.js";
import { prepareRun, requirePeftType } from "./prepare-run.js";
import { requireAlike } from "./same-everywhere.js";
import { openAdapterStart, withAdapterFlags } from "./start-adapter.js";
import type { RunRecord, TrainingRunOptions } from "./training-run-options.js";

/** Flags that may differ between processes: places, and which of them it is. */
const freeFlags = new Set(["local_rank", "model_name", "data_dir", "output_folder", "adapter"]);

/** What all processes of a run must have alike, by what messages call it. */
const commonFacts = ({ flags, model, tokenizerHash, data, code, host }: RunFacts) => ({
  ...Object.fromEntries(
    Object.entries(flags).flatMap(([name, value]) =>
      freeFlags.has(name) ? [] : [[`--${name}`, value]],
    ),
  ),
  "the model's files": model.sha256,
  "the tokenizer": tokenizerHash,
  "the data": Object.values(data).map(({ sha256 }) => sha256),
  "the version of hira": code,
  "the version of ONNX Runtime": host.onnxruntime,
});

/**
 * That all processes train the same model on the same data, by the same flags and versions.
 *
 * @throws {UserError} naming which process differs in what; in all of them
 */
export const requireSameEverywhere = (group: ProcessGroup, facts: RunFacts): Promise<void> =>
  requireAlike(group, "train", () => Promise.resolve(commonFacts(facts)));

const nothing = (): Promise<void> => Promise.resolve();

/** What process 0 reports is not said again. */
const silent: TrainingEvents = {
  step: nothing,
  skipped: () => undefined,
  validating: () => undefined,
  evaluation: nothing,
  saving: nothing,
};

/**
 * What every process but the first does of a run: its share of each update, of the validation rows and of the answers. It writes
 * nothing; where it starts from, and what is answered with, process 0 says.
 *
 * @throws {UserError} as runTraining, on what this process finds otherwise
 */
export const followTraining = async (
  asked: TrainingRunOptions & Planned,
  askedRecord: RunRecord,
  ui: ProgressUi,
  interrupt: InterruptSignal,
  group: ProcessGroup,
): Promise<void> => {
  const { adapter: from } = asked;
  const start = from === undefined ? undefined : await openAdapterStart(from, asked, ui);
  const record = start ? withAdapterFlags(askedRecord, start) : askedRecord;
  const unnamed = { ...asked, ...start?.options };
  const options = { ...unnamed, modelName: requireModelName(unnamed.modelName) };
  const peftType = requirePeftType(options.peftType);
  const prepared = await prepareRun(peftType, options, record, ui, { from: start, group });
  await requireSameEverywhere(group, prepared.facts);
  const { base, adapter, store, data, questions } = prepared;
  // Of its own device: hosts may differ.
  const { session } = await checkBeforeTraining(prepared, options, ui);
  const result = await trainAdapter({
    model: base.folder.model,
    weights: base.weights,
    session,
    ...{ adapter, store, data, settings: options, plan: options.plan },
    runFolder: undefined,
    writeWeights: nothing,
    readWeights: nothing,
    events: silent,
    ...{ group, interrupt },
  });
  if (result.interrupted !== undefined) return;
  const { classQuestions } = prepared;
  const { model } = base.folder;
  if (classQuestions && isClassifier(model)) {
    const source = { model, weights: base.weights, adapter, store, padId: data.padId };
    const { batch, plan } = options;
    await classifyRows(source, classQuestions, { ...{ batch, plan, ui, interrupt, group } });
  }
  if (!questions || !base.tokenizer) return;
  const predictor = await openPredictor(
    base,
    base.tokenizer,
    { adapter, values: store.values },
    [questions.dataset],
    options,
  );
  try {
    await answerSet(questions, predictor, options, {
      path: "",
      write: nothing,
      ...{ ui, interrupt, group },
    });
  } finally {
    predictor.dispose();
  }
};
