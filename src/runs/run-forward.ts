import { planned, type ComputeChoice, type Planned } from "../runtime/compute-plan.js";
import { requireWritablePath } from "../core/atomic-file.js";
import { requireNewFiles } from "../core/new-file.js";
import { UserError } from "../core/errors.js";
import { buildBatch } from "../datasets/build-batch.js";
import { readPreTokenized } from "../datasets/pre-tokenized.js";
import { writeSafetensors, type TensorToWrite } from "../models/weights/safetensors.js";
import type { Adapter } from "../peft/adapter.js";
import { buildAdapter, type AdapterSettings } from "../peft/build-adapter.js";
import type { ProgressUi } from "../report/progress.js";
import { vocabularyOf } from "../train/known-tokens.js";
import { loadBase, type BaseModel, type BaseStorage } from "../train/load-base.js";
import { requireModelName } from "../train/model-name.js";
import { openLossSession } from "../train/device-check.js";
import { storeOf, type ParameterStore } from "../train/parameters.js";
import { openTrained } from "./open-trained.js";
import { deviceChecks } from "./device-checks.js";
import type { GivenFlags } from "./recorded-flags.js";
import { fillStore, requirePeftType } from "./prepare-run.js";

/** What `hira forward` was asked: a model, its adapter, the rows, and what of them is written. */
export interface ForwardRunOptions extends AdapterSettings, BaseStorage, ComputeChoice {
  /** The model, or the base of what --ckpt names, that somebody has named. */
  readonly modelName: string | undefined;
  /** The flags that somebody wrote. */
  readonly givenFlags?: GivenFlags;
  readonly ckpt: string | undefined;
  readonly loadOrder: number;
  readonly peftType: string | undefined;
  readonly adapterInit: string | undefined;
  readonly seed: number | undefined;
  readonly input: string;
  readonly out: string;
  readonly overwrite: boolean;
  readonly gradients: boolean;
}

interface Opened {
  readonly base: BaseModel;
  readonly adapter: Adapter | undefined;
  readonly store: ParameterStore | undefined;
}

const open = async (options: ForwardRunOptions & Planned, ui: ProgressUi): Promise<Opened> => {
  const { modelName, ckpt } = options;
  if (ckpt !== undefined) {
    const { base, adapted } = await openTrained(
      { ...options, ckpt, compat: new Set(), tokenizer: "optional" },
      ui,
    );
    if (!adapted) return { base, adapter: undefined, store: undefined };
    return { base, adapter: adapted.adapter, store: storeOf(adapted, options.plan.device) };
  }
  const base = await loadBase(
    requireModelName(modelName),
    { ...options, tokenizer: "optional" },
    ui,
  );
  if (options.peftType === undefined) return { base, adapter: undefined, store: undefined };
  const adapter = buildAdapter(
    requirePeftType(options.peftType),
    base.folder.model,
    options,
    new Set(),
    base.tokenizer,
  );
  return { base, adapter, store: await fillStore(base, adapter, options, ui, options.plan) };
};

/** @throws {UserError} if some rows have labels and others none, or gradients are asked of rows without them */
const requireLabelsInAllOrNone = (
  { input, gradients }: ForwardRunOptions,
  rows: number,
  withoutLabels: readonly string[],
): void => {
  const count = withoutLabels.length;
  if (count === 0) return;
  const listed = `${withoutLabels.slice(0, 10).join(", ")}${count > 10 ? `, and ${String(count - 10)} more` : ""}`;
  if (count < rows)
    throw new UserError(
      `Cannot take ${input} as one batch: found ${String(count)} of ${String(rows)} rows without labels (${listed}), expected labels in all rows or in none`,
      "Give these rows labels, -100 where there is no loss, or take the labels out of the others for logits alone",
    );
  if (gradients)
    throw new UserError(
      `Cannot compute --gradients on ${input}: found no labels in its rows, expected labels, of which the loss is made`,
      "Leave --gradients out for logits alone",
    );
};

/**
 * `hira forward`: the rows of a file as one batch, as given. Writes `logits` [batch, seq, vocab], where the rows have labels
 * `loss` (the mean over the labelled tokens) and, with gradients, `grad.<parameter>` for everything that trains.
 *
 * @throws {UserError} if the rows differ in length, or gradients are asked of a model on which nothing trains
 */
export const runForward = (options: ForwardRunOptions, ui: ProgressUi): Promise<void> =>
  planned(options, (known) => forward(known, ui));

const forward = async (options: ForwardRunOptions & Planned, ui: ProgressUi): Promise<void> => {
  await requireNewFiles([options.out], { flag: "--out", overwrite: options.overwrite });
  await requireWritablePath(options.out, "Choose another --out");
  const { base, adapter, store } = await open(options, ui);
  const { model, tokenIds } = base.folder;
  const { rows, withoutLabels } = await readPreTokenized(options.input, vocabularyOf(base), {
    labels: "optional",
  });
  requireLabelsInAllOrNone(options, rows.length, withoutLabels);
  const lengths = [...new Set(rows.map(({ ids }) => ids.length))].sort((a, b) => a - b);
  if (lengths.length > 1)
    throw new UserError(
      `Cannot take ${options.input} as one batch: found rows of ${lengths.join(", ")} tokens, expected one length`,
      "Pad the rows, with attention_mask 0 and labels -100 on the padding",
    );
  if (options.gradients && !adapter)
    throw new UserError(
      "Cannot compute --gradients: found neither --peft_type nor --ckpt, expected something that trains",
      "Choose --peft_type=fft for the gradient of every weight",
    );
  const hasLabels = withoutLabels.length === 0;
  const batch = buildBatch(rows, { layout: { kind: "right-padded" }, padId: tokenIds.padId ?? 0 });
  const session = await openLossSession(
    {
      options: {
        model,
        adapter,
        maxPositions: batch.seq,
        chunks: 1,
        gradients: options.gradients,
        recomputeLayers: false,
        allLogits: true,
      },
      weights: base.weights,
      store,
      plan: options.plan,
      ...(hasLabels && { batch }),
    },
    deviceChecks(options, ui),
  );
  const { loss, logits = new Float32Array() } = await session.run(
    batch,
    hasLabels ? 1 / batch.labelledTokens : 0,
  );
  session.dispose();
  const gradients = [...(options.gradients ? (store?.gradients ?? []) : [])].map(
    ([name, tensor]): TensorToWrite => ({
      name: `grad.${name}`,
      dtype: "float32",
      shape: tensor.shape,
      data: () => options.plan.device.read(tensor),
    }),
  );
  await writeSafetensors(options.out, [
    {
      name: "logits",
      dtype: "float32",
      shape: [batch.batch, batch.seq, model.vocabSize],
      data: logits,
    },
    ...(hasLabels
      ? [{ name: "loss", dtype: "float32" as const, shape: [], data: Float32Array.of(loss) }]
      : []),
    ...gradients,
  ]);
  if (hasLabels) ui.line(`loss ${String(loss)}`);
  ui.line(`Wrote ${options.out}`);
};
