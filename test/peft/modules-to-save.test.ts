import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { replaceWeights } from "../../src/models/weights/frozen-weights.js";
import { buildAdapter, type AdapterSettings } from "../../src/peft/build-adapter.js";
import { savedTensors, saveableTensors } from "../../src/peft/modules-to-save.js";
import type { PeftType } from "../../src/peft/registry.js";
import { createSparsifier } from "../../src/train/sparsity.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import {
  drawnStore,
  largestDifference,
  loadTinyBase,
  logitsOf,
  startStore,
} from "../support/adapted-model.js";
import { checkGreedyDecoding } from "../support/greedy-decoding.js";

const ids = [1, 5, 9, 13, 2, 7];

const open = async (
  settings: Partial<AdapterSettings>,
  { base = "base", peftType = "lora" }: { base?: string; peftType?: PeftType } = {},
) => {
  const model = await loadTinyBase(base);
  const all = { ...defaultAdapterSettings, ...settings };
  return { model, adapter: buildAdapter(peftType, model.model, all, new Set()) };
};

test("savedTensors takes names for the ends of module paths, as peft does", async (t) => {
  const { model } = await loadTinyBase("base-tied");
  const tensors = saveableTensors(model);
  t.deepEqual([...savedTensors(["lm_head"], tensors)], [["lm_head.weight", [16, 8]]]);
  t.deepEqual([...savedTensors(["model.norm"], tensors).keys()], ["model.norm.weight"]);
  t.is(savedTensors(["norm"], tensors).size, 5);
});

test("a saved module is no target, is a copy of the model's tensors, and trains", async (t) => {
  const { model, adapter } = await open({
    targetModules: "q_proj,k_proj",
    modulesToSave: ["q_proj", "norm", "lm_head"],
  });
  t.deepEqual(
    adapter.targets.map(({ path }) => path.split(".").at(-1)),
    ["k_proj", "k_proj"],
  );
  const store = startStore(adapter, model);
  for (const name of ["model.layers.0.self_attn.q_proj.weight", "model.norm.weight"])
    t.deepEqual(store.values.get(name)?.data, model.weights.tensor(name).data);
  t.true(store.gradients.has("lm_head.weight"));
  t.deepEqual(
    adapter.parameters.filter(({ decays }) => !decays).map(({ name }) => name),
    adapter.parameters.map(({ name }) => name).filter((name) => name.includes("norm")),
  );
});

for (const modulesToSave of [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])
  test(`tied head and embedding: of ${modulesToSave.join(" and ")} a copy trains, the rest stays`, async (t) => {
    const { model, adapter } = await open({ modulesToSave }, { base: "base-tied" });
    const plain = await logitsOf(model, ids);
    const start = startStore(adapter, model).values;
    t.deepEqual(await logitsOf(model, ids, { adapter, values: start }), plain);

    // What stays is the model's own: a model without ties computes the same.
    const { values } = drawnStore(adapter, model);
    const embedding = model.weights.tensor("model.embed_tokens.weight");
    const parts = new Map([
      ["model.embed_tokens.weight", values.get("model.embed_tokens.weight") ?? embedding],
      ["lm_head.weight", values.get("lm_head.weight") ?? embedding],
    ]);
    const untied = {
      model: model.model.untied(),
      weights: replaceWeights(model.weights, parts),
    };
    const bare = buildAdapter("lora", untied.model, defaultAdapterSettings, new Set());
    const expected = await logitsOf(untied, ids, { adapter: bare, values });
    const found = await logitsOf(model, ids, { adapter, values });
    t.true(largestDifference(found, plain) > 0.1);
    t.true(largestDifference(found, expected) < 1e-6);
  });

for (const [base, modulesToSave] of [
  ["base", ["lm_head", "embed_tokens", "norm"]],
  ["base-tied", ["lm_head"]],
  ["base-tied", ["embed_tokens"]],
] as const)
  test(`decoding uses saved modules, merged and not: ${modulesToSave.join(", ")} on ${base}`, async (t) => {
    const { model, adapter } = await open({ modulesToSave }, { base });
    const adapted = { adapter, values: drawnStore(adapter, model).values };
    for (const memoryBytes of [0, 2 ** 30])
      await checkGreedyDecoding(t, { model, adapted }, { ids, tokens: 4, memoryBytes });
  });

test("Sparse LoRA prunes A and B alone, not what is saved whole", async (t) => {
  const { model, adapter } = await open(
    { modulesToSave: ["lm_head"] },
    { peftType: "sparse-lora" },
  );
  const store = drawnStore(adapter, model);
  const { pruning } = adapter;
  if (!pruning) return t.fail();
  const sparsifier = createSparsifier({ ...pruning, schedule: "oneshot" }, store, 5);
  sparsifier.afterUpdate(5);
  t.false(store.masks.has("lm_head.weight"));
  t.false((store.values.get("lm_head.weight")?.data as Float32Array).includes(0));
  t.true(store.masks.has("model.layers.0.self_attn.q_proj.A"));
});

test("--modules_to_save refuses names of no module, targets under half a name, and other methods", async (t) => {
  const messageOf = async (...args: Parameters<typeof open>) =>
    (await t.throwsAsync(open(...args), { instanceOf: UserError })).message;
  t.regex(
    await messageOf({ modulesToSave: ["lm_haed", "norm"] }),
    /found "lm_haed", which matches no module; expected names out of embed_tokens, .*lm_head/,
  );
  t.regex(
    await messageOf({ modulesToSave: ["_proj"] }),
    /found model\.layers\.0\.self_attn\.q_proj, .*which --target_modules adapts too/,
  );
  t.regex(
    await messageOf({ modulesToSave: ["norm"] }, { peftType: "p-tuning" }),
    /Cannot use --modules_to_save with --peft_type=p-tuning/,
  );
});
