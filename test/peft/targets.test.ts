import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { adapterBaseOf, buildAdapter, describeAdapter } from "../../src/peft/build-adapter.js";
import { adapterConfig } from "../../src/peft/adapter-files.js";
import { inLayers, layersText, matchRankPattern } from "../../src/peft/targets.js";
import { peftFixture } from "../support/adapter-base.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";

const { model } = await loadModelFolder(peftFixture("base"));
const modules = model.linears;

test("layersText writes runs of layers as ranges", (t) => {
  t.is(layersText([10, 0, 1, 2, 5, 2]), "0-2, 5, 10");
});

test("inLayers keeps the modules of the layers, and names the range where one is beyond the model", (t) => {
  t.is(inLayers(modules, undefined, 2), modules);
  t.deepEqual(
    inLayers(modules, [1], 2).map(({ path }) => path),
    modules.map(({ path }) => path).filter((path) => path.startsWith("model.layers.1.")),
  );
  t.throws(() => inLayers(modules, [1, 2, 3, 7], 2), {
    instanceOf: UserError,
    message: /--layers: found 2-3, 7, expected layers of the model, which are 0-1/,
  });
  const first = modules.filter(({ path }) => path === "model.layers.0.self_attn.q_proj");
  t.throws(() => inLayers(first, [1], 2), { message: /found 1, in which --target_modules names/ });
});

test("matchRankPattern takes the first pattern that the end of a path matches, from a dot on, as peft does", (t) => {
  const ranks = matchRankPattern(
    new Map([
      ["layers.0.*_proj", 1],
      ["q_proj", 2],
      ["self_attn.(q|k)_proj", 3],
    ]),
    modules,
  );
  t.is(ranks.get("model.layers.0.self_attn.q_proj"), 1);
  t.is(ranks.get("model.layers.0.mlp.up_proj"), 1);
  t.is(ranks.get("model.layers.1.self_attn.q_proj"), 2);
  t.is(ranks.get("model.layers.1.self_attn.k_proj"), 3);
  t.is(ranks.get("model.layers.1.mlp.up_proj"), undefined);
  // "proj" begins at no dot.
  t.throws(() => matchRankPattern(new Map([["proj", 4]]), modules), {
    instanceOf: UserError,
    message: /found "proj", which matches none of the adapted layers; expected such as q_proj/,
  });
});

test("buildAdapter gives modules their own ranks, and the config says layers and ranks in peft's fields", (t) => {
  const adapter = buildAdapter(
    "lora",
    model,
    {
      ...defaultAdapterSettings,
      targetModules: "q_proj,down_proj",
      layers: [1],
      rankPattern: new Map([["q_proj", 3]]),
    },
    new Set(),
  );
  t.deepEqual(
    adapter.parameters.map(({ name, shape }) => [name, shape]),
    [
      ["model.layers.1.self_attn.q_proj.A", [3, 8]],
      ["model.layers.1.self_attn.q_proj.B", [8, 3]],
      ["model.layers.1.mlp.down_proj.A", [2, 12]],
      ["model.layers.1.mlp.down_proj.B", [8, 2]],
    ],
  );
  const description = describeAdapter(adapter, "base");
  if (!description) return t.fail();
  const written = adapterConfig(description, adapterBaseOf(model));
  t.deepEqual(written.layers_to_transform, [1]);
  t.deepEqual(written.target_modules, ["q_proj", "down_proj"]);
  // The rank that most modules have is r; of equally frequent ones, the first.
  t.is(written.r, 3);
  t.deepEqual(written.rank_pattern, { "model.layers.1.mlp.down_proj": 2 });
});

test("buildAdapter refuses --layers and --rank_pattern where no linear layer is adapted", (t) => {
  for (const peftType of ["prefix", "fft"] as const)
    t.throws(
      () =>
        buildAdapter(
          peftType,
          model,
          { ...defaultAdapterSettings, layers: [0], rankPattern: new Map([["q_proj", 2]]) },
          new Set(),
        ),
      { instanceOf: UserError, message: /Cannot use --layers, --rank_pattern with --peft_type=/ },
    );
});
