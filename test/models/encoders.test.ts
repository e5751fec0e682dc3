import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { readJsonObject } from "../../src/core/json-file.js";
import { loadModelFolder, parseConfig } from "../../src/models/model-folder.js";
import type { Model } from "../../src/models/model.js";
import { float32Tensors, openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import {
  readSafetensorsHeader,
  readTensorData,
  writeSafetensors,
  type TensorToWrite,
} from "../../src/models/weights/safetensors.js";
import { createFullAdapter, createLinearAdapter } from "../../src/peft/adapter.js";
import { dora } from "../../src/peft/dora.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { lora } from "../../src/peft/lora.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { addSavedModules } from "../../src/peft/modules-to-save.js";
import { selectTargets } from "../../src/peft/targets.js";
import { StatesSession } from "../../src/runs/states-session.js";
import { AdamW, clipFactor } from "../../src/train/adamw.js";
import { loadBase } from "../../src/train/load-base.js";
import { LossSession } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { taskOf } from "../../src/train/tasks/registry.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { distance, readTensors } from "../support/goldens.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** See scripts/reference/encoder_goldens.py. */
const fixtures = fileURLToPath(new URL("../fixtures/models/encoders", import.meta.url));

/** A folder with a golden's model without its classifier, each tensor under the name that `rename` gives it; undefined leaves it out. */
const makeEncoder = async (
  t: ExecutionContext,
  family: string,
  rename: (name: string) => string | undefined = (name) => name,
  more: readonly TensorToWrite[] = [],
): Promise<string> => {
  const [folder, golden] = [await makeTempFolder(t), join(fixtures, family, "model")];
  const { architectures: _, ...config } = await readJsonObject(join(golden, "config.json"));
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  const { entries } = await readSafetensorsHeader(join(golden, "model.safetensors"));
  const weights = [...entries.values()].flatMap((entry): TensorToWrite[] => {
    const name = entry.name.includes("classifier") ? undefined : rename(entry.name);
    return name === undefined ? [] : [{ ...entry, name, data: () => readTensorData(entry) }];
  });
  await writeSafetensors(join(folder, "model.safetensors"), [...weights, ...more]);
  return folder;
};

/** The lengths of the goldens' rows. */
const lengths = [24, 17, 9, 20];

/** Holds the hidden states after each of `layers` against a golden's. */
const checkStates = async (
  t: ExecutionContext,
  folder: string,
  family: string,
  layers: readonly number[],
): Promise<void> => {
  const { model, weights: entries } = await loadModelFolder(folder);
  const weights = await openFrozenWeights(entries, { storage: "stored" });
  const golden = join(fixtures, family, "batch.safetensors");
  const { entries: batch } = await readSafetensorsHeader(golden);
  const idsEntry = batch.get("input_ids");
  const ids = idsEntry && ((await readTensorData(idsEntry)) as BigInt64Array);
  const rows = lengths.map((length, row) =>
    Array.from(ids?.subarray(row * 24, row * 24 + length) ?? [], Number),
  );
  const expected = await readTensors(golden);
  for (const layer of layers) {
    const session = await StatesSession.create({
      ...{ model, weights, layers: layer, maxPositions: 24, threads: 1 },
    });
    const states = await session.run(rows);
    session.dispose();
    const all = expected.get(`hidden.${String(layer)}`) ?? new Float32Array();
    for (const [row, found] of states.entries()) {
      const own = all.subarray(row * 24 * model.hiddenSize).subarray(0, found.length);
      t.is(found.length, (lengths[row] ?? 0) * model.hiddenSize);
      t.true(distance(found, own) < 1e-5, `layer ${String(layer)}, row ${String(row)}`);
    }
  }
};

for (const family of readdirSync(fixtures))
  test(`${family}: hidden states after every layer are PyTorch's, whatever stands in the padding`, async (t) => {
    await checkStates(t, await makeEncoder(t, family), family, [0, 1, 2]);
  });

/** batch.safetensors of a golden. */
const readClasses = async (family: string): Promise<TokenBatch> => {
  const { entries } = await readSafetensorsHeader(join(fixtures, family, "batch.safetensors"));
  const integers = async (name: string): Promise<BigInt64Array | undefined> => {
    const entry = entries.get(name);
    return entry && ((await readTensorData(entry)) as BigInt64Array);
  };
  return {
    ...{ batch: 4, seq: 24 },
    inputIds: (await integers("input_ids")) ?? new BigInt64Array(),
    attentionMask: Uint8Array.from((await integers("attention_mask")) ?? [], Number),
    tokenTypes: await integers("token_type_ids"),
    labels: new Int32Array(4 * 24).fill(-100),
    classes: Int32Array.from((await integers("classes")) ?? [], Number),
  };
};

interface Trained {
  readonly targets: readonly string[];
  readonly saved: readonly string[];
  readonly rank: number;
  readonly alpha: number;
  readonly methods: Readonly<
    Record<string, Readonly<Record<"loss" | "grad_norm" | "lr", readonly number[]>>>
  >;
}

const methods = { hira, lora, dora, full: undefined } as const;

for (const family of readdirSync(fixtures))
  test(`${family}: a classifier's logits, losses and gradients are PyTorch's: ${Object.keys(methods).join(", ")}`, async (t) => {
    const folder = join(fixtures, family);
    const { model, weights: entries } = await loadModelFolder(join(folder, "model"));
    const weights = await openFrozenWeights(entries, { storage: "stored" });
    const batch = await readClasses(family);
    const init = await readTensors(join(folder, "init.safetensors"));
    const gradients = await readTensors(join(folder, "first_gradients.safetensors"));
    const logits = (await readTensors(join(folder, "batch.safetensors"))).get("logits");
    const trained = JSON.parse(await readFile(join(folder, "training.json"), "utf8")) as Trained;
    const close = (a: number, b: number | undefined, tolerance: number, what: string) =>
      t.true(Math.abs(a / (b ?? NaN) - 1) < tolerance, `${what}: ${String(a)}, ${String(b)}`);

    for (const [name, method] of Object.entries(methods)) {
      const adapter = method
        ? addSavedModules(
            createLinearAdapter(
              method,
              trained,
              selectTargets(model.linears, trained.targets.join(",")),
            ),
            trained.saved,
            model,
          )
        : createFullAdapter(fft, model.tensors);
      const store = createParameterStore(
        adapter,
        1,
        (parameter) => init.get(parameter.name) ?? init.get(`${parameter.name}_probe`),
        { base: float32Tensors(weights) },
      );
      const session = await LossSession.create(
        {
          ...{ model, adapter, maxPositions: 24, chunks: 1, gradients: true },
          ...{ recomputeLayers: name === "hira", task: taskOf(model, 0), labelLogits: true },
        },
        weights,
        store,
        cpuPlan(1),
      );
      const optimizer = await AdamW.create(store, {
        ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
      });
      const golden = trained.methods[name];
      for (const [step, expected] of (golden?.loss ?? []).entries()) {
        clearGradients(store);
        const { loss, labelLogits } = await session.run(batch, 1 / 4);
        if (step === 0) {
          if (name === "full") t.true(distance(labelLogits as Float32Array, logits!) < 1e-5);
          let compared = 0;
          for (const [parameter, gradient] of store.gradients) {
            const known = gradients.get(`${name}/probe/${parameter}`);
            // A bias of keys moves no score: its gradient is noise around zero.
            if (!known || /(?:key|k_lin)\.bias$/.test(parameter)) continue;
            compared++;
            const error = distance(gradient.data as Float32Array, known);
            t.true(error < 1e-4, `${name}, gradient of ${parameter}: ${String(error)}`);
          }
          t.true(compared > 7);
        }
        close(loss, expected, 2e-5, `${name}, step ${String(step)}`);
        const norm = await optimizer.gradientNorm();
        close(norm, golden?.grad_norm[step], 1e-4, `${name}, norm of step ${String(step)}`);
        await optimizer.update(step + 1, golden?.lr[step] ?? NaN, clipFactor(norm, 1));
      }
      t.is(golden?.loss.length, 15);
      optimizer.dispose();
      session.dispose();
    }
  });

test("files without the prefix, with gamma and beta, and with what pre-training leaves behind are read as transformers reads them", async (t) => {
  const left = (name: string, data: BigInt64Array | Float32Array): TensorToWrite => ({
    ...{ name, shape: [data.length], data },
    dtype: data instanceof Float32Array ? "float32" : "int64",
  });
  const folder = await makeEncoder(
    t,
    "bert",
    (name) =>
      name
        .replace(/^bert\./, "")
        .replace(/LayerNorm\.weight$/, "LayerNorm.gamma")
        .replace(/LayerNorm\.bias$/, "LayerNorm.beta"),
    [
      left("embeddings.position_ids", new BigInt64Array(48)),
      left("cls.predictions.bias", new Float32Array(64)),
      left("cls.predictions.transform.LayerNorm.gamma", new Float32Array(24)),
    ],
  );
  await checkStates(t, folder, "bert", [2]);
  const distilled = await makeEncoder(t, "distilbert", (name) => name.slice("distilbert.".length), [
    left("vocab_projector.bias", new Float32Array(64)),
  ]);
  await checkStates(t, distilled, "distilbert", [2]);
});

test("BERT without a pooler encodes, and has no classifier", async (t) => {
  const folder = await makeEncoder(t, "bert", (name) =>
    name.includes("pooler") ? undefined : name,
  );
  const { model } = await loadModelFolder(folder);
  t.is(model.classifier, undefined);
  t.false(model.linears.some(({ path }) => path.includes("pooler")));
  await checkStates(t, folder, "bert", [2]);
});

test("an encoder is refused where tokens are to be predicted, with what it can do", async (t) => {
  const folder = await makeEncoder(t, "bert");
  const ui = { line: t.log, warn: t.log, decoding: () => t.fail() };
  const error = await t.throwsAsync(
    loadBase(
      folder,
      { tokenizer: "optional", loadBit: 16, quantType: "nf4", doubleQuant: true },
      ui,
    ),
    { instanceOf: UserError },
  );
  t.regex(error.message, /found bert, an encoder without an output head/);
  t.regex(error.hint ?? "", /--task=sequence-classification/);
  const { model } = await loadModelFolder(folder);
  t.throws(() => model.logits(undefined as never, undefined as never, undefined as never), {
    instanceOf: RangeError,
  });
});

test("a config's faults are told all at once: BERT with relative positions, as a decoder, with heads that do not fit", (t) => {
  const { message } = t.throws(
    () =>
      parseConfig(
        {
          ...{ model_type: "bert", num_attention_heads: 7, is_decoder: true, hidden_act: "mish" },
          ...{ position_embedding_type: "relative_key", hidden_dropout_prob: 1 },
        },
        "config.json",
      ),
    { instanceOf: UserError },
  );
  for (const name of [
    ...["hidden_size", "position_embedding_type", "is_decoder", "hidden_act"],
    "hidden_dropout_prob",
  ])
    t.true(message.includes(`"${name}"`), name);
});

const elements = (shapes: Iterable<readonly number[]>): number =>
  [...shapes].reduce((sum, shape) => sum + shape.reduce((n, size) => n * size, 1), 0);

/** Of an adapter and the classifier's head of two labels beside it. */
const trainable = (model: Model, method: LinearMethod, rank: number, targets: string): number => {
  const { parameters } = createLinearAdapter(
    method,
    { rank, alpha: 2 * rank },
    selectTargets(model.linears, targets),
  );
  const head = model.classifier?.linears(2) ?? [];
  return elements([
    ...parameters.map(({ shape }) => shape),
    ...head.flatMap(({ inFeatures, outFeatures }) => [[outFeatures, inFeatures], [outFeatures]]),
  ]);
};

test("released sizes from their configs alone: parameters of BERT and DistilBERT, and those that train", (t) => {
  const distil = parseConfig({ model_type: "distilbert" }, "config.json");
  t.is(elements(distil.tensors.values()), 66_362_880);
  t.is(trainable(distil, lora, 8, "q_lin,v_lin"), 739_586);
  t.is(trainable(distil, hira, 32, "q_lin,k_lin,v_lin,lin1,lin2"), 2_951_426);
  const base = parseConfig({ model_type: "bert" }, "config.json");
  t.is(elements(base.tensors.values()), 109_482_240);
  t.is(trainable(base, lora, 8, "query,value"), 294_912 + 1_538);
  const large = parseConfig(
    {
      ...{ model_type: "bert", hidden_size: 1024, intermediate_size: 4096 },
      ...{ num_hidden_layers: 24, num_attention_heads: 16 },
    },
    "config.json",
  );
  t.is(elements(large.tensors.values()), 335_141_888);
});
