import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { elementCount } from "../../src/core/dtype.js";
import { UserError } from "../../src/core/errors.js";
import { fitLongestFirst } from "../../src/datasets/encode-classes.js";
import { classifierModel, headTensors, isClassifier } from "../../src/models/classifier.js";
import { loadModelFolder, parseConfig } from "../../src/models/model-folder.js";
import { float32Tensors, openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { readSafetensorsHeader, readTensorData } from "../../src/models/weights/safetensors.js";
import { createFullAdapter, type Adapter } from "../../src/peft/adapter.js";
import { readAdapter } from "../../src/peft/adapter-files.js";
import { adapterBaseOf, adapterOfDescription, buildAdapter } from "../../src/peft/build-adapter.js";
import { fft } from "../../src/peft/fft.js";
import { readSpecialTokens } from "../../src/tokenizer/special-tokens.js";
import { AdamW, clipFactor } from "../../src/train/adamw.js";
import { classFigures, likeliestClass } from "../../src/train/class-figures.js";
import { LossSession } from "../../src/train/loss-session.js";
import { clearGradients, createParameterStore } from "../../src/train/parameters.js";
import { taskOf } from "../../src/train/tasks/registry.js";
import { sequenceClassification } from "../../src/train/tasks/sequence-classification.js";
import type { TokenBatch } from "../../src/train/tasks/task.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { distance, readTensors } from "../support/goldens.js";

const fixtures = fileURLToPath(new URL("../fixtures/classification/", import.meta.url));
const families = ["llama", "distilbert"];
const padId = 0;

const readBatch = async (
  folder: string,
): Promise<TokenBatch & { readonly logits: ReadonlyMap<string, Float32Array> }> => {
  const path = join(folder, "batch.safetensors");
  const { entries } = await readSafetensorsHeader(path);
  const whole = async (name: string) => {
    const entry = entries.get(name);
    return entry && ((await readTensorData(entry)) as BigInt64Array);
  };
  const [batch = 0, seq = 0] = entries.get("input_ids")?.shape ?? [];
  const tokenTypes = await whole("token_type_ids");
  return {
    ...{ batch, seq },
    inputIds: (await whole("input_ids")) ?? new BigInt64Array(),
    attentionMask: Uint8Array.from((await whole("attention_mask")) ?? [], Number),
    labels: new Int32Array(batch * seq).fill(-100),
    classes: Int32Array.from((await whole("labels")) ?? [], Number),
    ...(tokenTypes && { tokenTypes }),
    logits: await readTensors(path),
  };
};

const largestDifference = (a: Float32Array | undefined, b: Float32Array | undefined): number =>
  Array.from(b ?? [NaN], (x, i) => Math.abs(x - (a?.[i] ?? NaN))).reduce((most, x) =>
    Math.max(most, x),
  );

for (const family of families)
  for (const method of ["hira", "lora", "fft"] as const)
    test(`a classifier of ${family} has transformers' logits, and learns as with peft: ${method}`, async (t) => {
      const folder = join(fixtures, family);
      const { model, weights: entries } = await loadModelFolder(join(folder, "model"));
      if (!isClassifier(model)) throw new Error("found no classifier");
      t.is(model.labels.length, 3);
      const weights = await openFrozenWeights(entries, { storage: "stored" });
      const batch = await readBatch(folder);
      let adapter: Adapter;
      let start: (name: string) => Float32Array | undefined = () => undefined;
      if (method === "fft") adapter = createFullAdapter(fft, model.tensors);
      else {
        const read = await readAdapter(join(folder, method), adapterBaseOf(model));
        adapter = adapterOfDescription(read.adapter, model, new Set());
        start = (name) => read.values.get(name)?.data;
        t.deepEqual(adapter.modulesToSave, ["classifier", "score"]);
        for (const name of headTensors(model).keys())
          t.true(adapter.parameters.some((parameter) => parameter.name === name));
      }
      const store = createParameterStore(adapter, 1, ({ name }) => start(name), {
        base: float32Tensors(weights),
      });
      const session = await LossSession.create(
        {
          ...{ model, adapter, maxPositions: batch.seq, chunks: 1, gradients: true },
          ...{ recomputeLayers: false, task: taskOf(model, padId), labelLogits: true },
        },
        weights,
        store,
        cpuPlan(1),
      );
      const stored = JSON.parse(await readFile(join(folder, "training.json"), "utf8")) as Record<
        string,
        readonly number[]
      >;
      const gradients = await readTensors(join(folder, "first_gradients.safetensors"));
      const optimizer = await AdamW.create(store, {
        ...{ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
      });
      for (const [step, expected] of (stored[method] ?? []).entries()) {
        clearGradients(store);
        const { loss, labelLogits } = await session.run(batch, 1 / batch.batch);
        if (step === 0) {
          const logits = batch.logits.get(method === "fft" ? "logits" : `${method}_logits`);
          t.true(largestDifference(labelLogits, logits) < 1e-4);
          let compared = 0;
          for (const [name, gradient] of store.gradients) {
            const known = gradients.get(`${method}:${name}`);
            // A bias of keys moves no score: its gradient is noise around zero.
            if (!known || /(?:\bkey|k_lin)\.bias$/.test(name)) continue;
            compared++;
            const error = distance(gradient.data as Float32Array, known);
            t.true(error < 1e-4, `gradient of ${name}: ${String(error)}`);
          }
          t.true(compared > 4);
        }
        t.true(
          Math.abs(loss / expected - 1) < 2e-5,
          `step ${String(step)}: ${String(loss)}, ${String(expected)}`,
        );
        await optimizer.update(step + 1, 1e-3, clipFactor(await optimizer.gradientNorm(), 1));
      }
      optimizer.dispose();
      session.dispose();
    });

test("DistilBERT's config alone says how much trains: 739,586 numbers with LoRA and its head, 2,951,426 with HiRA", (t) => {
  const model = classifierModel(parseConfig({ model_type: "distilbert" }, "config.json"), [
    ...["negative", "positive"],
  ]);
  const count = (peftType: "lora" | "hira", rank: number, targetModules: string): number =>
    buildAdapter(peftType, model, { ...defaultAdapterSettings, rank, targetModules }, new Set())
      .parameters.filter(({ trainable }) => trainable)
      .reduce((sum, { shape }) => sum + elementCount(shape), 0);
  t.is(count("lora", 8, "q_lin,v_lin"), 739_586);
  t.is(count("hira", 32, "q_lin,k_lin,v_lin,lin1,lin2"), 2_951_426);
});

test("two texts over the limit lose tokens as with transformers' truncation=True", (t) => {
  // Kept tokens of MiniLM's tokenizer, transformers 5.24: first text, second text, room, and what is kept of each.
  const cases = [
    ...[[10, 10, 9, 4, 5] as const, [3, 20, 9, 3, 6] as const, [20, 3, 9, 6, 3] as const],
    ...[[7, 8, 10, 5, 5] as const, [8, 7, 10, 5, 5] as const, [1, 30, 7, 1, 6] as const],
    ...[[30, 1, 7, 6, 1] as const, [12, 4, 11, 7, 4] as const, [5, 5, 27, 5, 5] as const],
    ...[[2, 9, 5, 2, 3] as const, [9, 2, 5, 3, 2] as const],
  ];
  for (const [first, second, room, ...kept] of cases)
    t.deepEqual(fitLongestFirst(first, second, room), kept);
});

test("special tokens stand where the tokenizer's post_processor puts them; another kind of it is refused", (t) => {
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  const [cls, sep] = [special("[CLS]", 0), special("[SEP]", 0)];
  const template = {
    type: "TemplateProcessing",
    single: [cls, text("A", 0), sep],
    pair: [cls, text("A", 0), sep, text("B", 1), special("[SEP]", 1)],
    special_tokens: { "[CLS]": { ids: [101] }, "[SEP]": { ids: [102] } },
  };
  const expected = readSpecialTokens(
    { type: "BertProcessing", sep: ["[SEP]", 102], cls: ["[CLS]", 101] },
    "x",
  );
  t.deepEqual(readSpecialTokens(template, "x"), expected);
  const wrapped = { type: "Sequence", processors: [{ type: "ByteLevel" }, template] };
  t.deepEqual(readSpecialTokens(wrapped, "x"), expected);
  t.deepEqual(
    expected.pair.map((piece) => [piece.type, piece.kind === "tokens" ? piece.ids[0] : piece.of]),
    [
      [0, 101],
      [0, "first"],
      [0, 102],
      [1, "second"],
      [1, 102],
    ],
  );
  t.deepEqual(readSpecialTokens(null, "x").single, [{ kind: "text", of: "first", type: 0 }]);
  t.throws(() => readSpecialTokens({ type: "Odd" }, "tokenizer.json"), {
    message: /post_processor of tokenizer\.json: found .*Odd/,
  });
  t.throws(() => readSpecialTokens({ ...template, special_tokens: {} }, "x"), {
    instanceOf: UserError,
  });
});

test("the last token of a row is the last that is no pad token, as transformers looks for it", (t) => {
  const batch = {
    ...{ batch: 3, seq: 3, labels: new Int32Array(9).fill(-100) },
    inputIds: BigInt64Array.from([5n, 6n, 0n, 5n, 0n, 6n, 0n, 0n, 0n]),
    attentionMask: Uint8Array.from([1, 1, 0, 1, 1, 1, 1, 1, 1]),
    classes: Int32Array.of(1, 0, 1),
  };
  const last = sequenceClassification({ pools: "last", padId }).labelled(batch);
  t.deepEqual([...last.rows], [1n, 5n, 6n]);
  t.deepEqual([...last.ids], [1n, 0n, 1n]);
  const first = sequenceClassification({ pools: "first", padId }).labelled(batch);
  t.deepEqual([...first.rows], [0n, 3n, 6n]);
});

test("figures of two classes have class 1 as the positive one, those of more the mean of all", (t) => {
  const two = classFigures({ predicted: [1, 1, 0, 0], truth: [1, 0, 0, 0], classes: 2 });
  t.deepEqual([two.accuracy, two.f1], [0.75, 2 / 3]);
  t.true(Math.abs(two.f1_macro - (2 / 3 + 0.8) / 2) < 1e-12);
  t.true(Math.abs(two.mcc - 1 / Math.sqrt(3)) < 1e-12);
  const three = classFigures({ predicted: [1, 1, 0, 2], truth: [1, 0, 0, 2], classes: 3 });
  t.is(three.f1, three.f1_macro);
  t.is(likeliestClass([9, 1, 3, 3], 1, 3), 1);
});
