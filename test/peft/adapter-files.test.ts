import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import type { TensorEntry } from "../../src/models/weights/safetensors.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../../src/models/weights/safetensors.js";
import { readAdapter, readAdapterConfig, writeAdapter } from "../../src/peft/adapter-files.js";
import type { LowRankAdapter } from "../../src/peft/formats/format.js";
import { baseOfFixture, loadAdapterBase, peftFixture } from "../support/adapter-base.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const configName = "adapter_config.json";
const weightsName = "adapter_model.safetensors";

const readConfig = async (folder: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(folder, configName), "utf8")) as Record<string, unknown>;

/** A copy of one of peft's folders with some fields of its config changed. */
const copyOf = async (t: ExecutionContext, name: string, changes: object = {}): Promise<string> => {
  const folder = await makeTempFolder(t);
  await cp(peftFixture(name), folder, { recursive: true });
  const config = { ...(await readConfig(folder)), ...changes };
  await writeFile(join(folder, configName), JSON.stringify(config));
  return folder;
};

/** Writes the tensors of `folder` again, renamed; names that become undefined are left out. */
const rewriteTensors = async (
  folder: string,
  rename: (name: string) => string | undefined,
): Promise<void> => {
  const { entries } = await readSafetensorsHeader(join(folder, weightsName));
  const tensors = await Promise.all(
    [...entries.values()].map(async (entry: TensorEntry) => ({
      name: rename(entry.name),
      dtype: "float32" as const,
      shape: entry.shape,
      data: await readTensorAsFloat32(entry),
    })),
  );
  await writeSafetensors(
    join(folder, weightsName),
    tensors.flatMap((tensor) =>
      tensor.name === undefined ? [] : [{ ...tensor, name: tensor.name }],
    ),
  );
};

const errorOf = async (t: ExecutionContext, folder: string): Promise<UserError> =>
  t.throwsAsync(readAdapter(folder, await loadAdapterBase()), { instanceOf: UserError });

const loadedByPeft = JSON.parse(readFileSync(peftFixture("loaded-by-peft.json"), "utf8")) as Record<
  string,
  {
    missing: string[];
    unexpected: string[];
    different: string[];
    largest_logit_difference: number;
    sha256: Record<string, string>;
  }
>;

for (const [name, inPeft] of Object.entries(loadedByPeft)) {
  test(`writeAdapter writes the files of ${name} that peft was seen to load`, async (t) => {
    const base = await loadAdapterBase(peftFixture(baseOfFixture(name)));
    const folder = await makeTempFolder(t);
    const { adapter, values } = await readAdapter(peftFixture(name), base);
    const data = new Map([...values].map(([key, value]) => [key, value.data]));
    await writeAdapter(folder, adapter, base, data);

    t.deepEqual([inPeft.missing, inPeft.unexpected, inPeft.different], [[], [], []]);
    // Of what peft ties to one tensor hira writes both, and the products are taken in another order.
    t.true(inPeft.largest_logit_difference <= (name.includes("-tying-") ? 1e-6 : 0));
    for (const [file, sha256] of Object.entries(inPeft.sha256)) {
      const written = createHash("sha256").update(await readFile(join(folder, file)));
      t.is(
        written.digest("hex"),
        sha256,
        `${file} changed: run scripts/reference/peft_adapters.py`,
      );
    }
    t.deepEqual(await readAdapter(folder, base), { adapter, values });
  });
}

test("readAdapter gives peft's HiRA by our names", async (t) => {
  const base = await loadAdapterBase();
  const { adapter, values } = await readAdapter(peftFixture("hira"), base);
  t.is(adapter.method, "hira");
  t.is(adapter.baseModel, "tiny-base");
  t.deepEqual((await readAdapterConfig(peftFixture("hira"))).baseModel, "tiny-base");
  t.deepEqual([...values.keys()].slice(0, 4), [
    "model.layers.0.self_attn.q_proj.A",
    "model.layers.0.self_attn.q_proj.B",
    "model.layers.0.self_attn.v_proj.A",
    "model.layers.0.self_attn.v_proj.B",
  ]);
  t.is(values.size, 12);
  t.deepEqual(values.get("model.layers.1.mlp.down_proj.A")!.shape, [2, 12]);
  const { entries } = await readSafetensorsHeader(join(peftFixture("hira"), weightsName));
  t.deepEqual(
    values.get("model.layers.1.mlp.down_proj.B")!.data,
    await readTensorAsFloat32(entries.get("base_model.model.model.layers.1.mlp.down_proj.hira_B")!),
  );
});

test("readAdapter reads the rank_pattern of HiRA both as meant and as peft 0.21.2 leaves it", async (t) => {
  const base = await loadAdapterBase();
  const path = "model.layers.1.self_attn.v_proj";
  // The fixture's config says rank 3 for this layer; peft made it with rank 2.
  const asPeft = (await readAdapter(peftFixture("hira"), base)).adapter as LowRankAdapter;
  t.like(asPeft.modules.get(path), { rank: 2 });

  const modules = new Map([...asPeft.modules].map(([p, m]) => [p, p === path ? { rank: 3 } : m]));
  const mixed = { ...asPeft, modules };
  const shapes = { A: [3, 8], B: [4, 3] };
  const { values } = await readAdapter(peftFixture("hira"), base);
  const data = new Map([...values].map(([name, value]) => [name, value.data]));
  for (const [short, [rows, columns]] of Object.entries(shapes))
    data.set(`${path}.${short}`, new Float32Array(rows! * columns!).fill(0.5));
  const folder = await makeTempFolder(t);
  await writeAdapter(folder, mixed, base, data);
  t.deepEqual((await readConfig(folder)).rank_pattern, { [path]: 3 });
  t.deepEqual((await readAdapter(folder, base)).adapter, mixed);
});

test("readAdapter reads ranks, alphas and targets of LoRA, rsLoRA and DoRA", async (t) => {
  const base = await loadAdapterBase();
  const lora = (await readAdapter(peftFixture("lora"), base)).adapter as LowRankAdapter;
  t.is(lora.method, "lora");
  t.deepEqual(lora.modules.get("model.layers.0.self_attn.q_proj"), { rank: 1, alpha: 6 });
  t.deepEqual(lora.modules.get("model.layers.1.self_attn.q_proj"), { rank: 2, alpha: 6 });
  t.deepEqual(lora.modules.get("model.layers.1.mlp.down_proj"), { rank: 2, alpha: 5 });
  const rslora = (await readAdapter(peftFixture("rslora"), base)).adapter as LowRankAdapter;
  t.is(rslora.method, "rslora");
  t.deepEqual(
    [...rslora.modules.keys()],
    ["model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"],
  );
  const dora = await readAdapter(peftFixture("dora"), base);
  t.is(dora.adapter.method, "dora");
  t.deepEqual(
    [...dora.values].map(([name, { shape }]) => [name, shape]),
    [
      ["model.layers.1.self_attn.k_proj.A", [2, 8]],
      ["model.layers.1.self_attn.k_proj.B", [4, 2]],
      ["model.layers.1.self_attn.k_proj.magnitude", [4]],
    ],
  );
});

test("readAdapter reads virtual tokens", async (t) => {
  const base = await loadAdapterBase();
  for (const [name, parameter, shape] of [
    ["prefix", "table", [3, 16]],
    ["p-tuning", "embedding", [3, 8]],
    ["prompt-tuning", "embedding", [3, 8]],
  ] as const) {
    const { adapter, values } = await readAdapter(peftFixture(name), base);
    t.deepEqual(adapter, {
      method: name,
      baseModel: "tiny-base",
      options: { virtualTokens: 3 },
    });
    t.deepEqual(values.get(parameter)!.shape, shape);
  }
});

/** The same HiRA adapter as the authors' program lays it out. */
const authorsFolder = async (t: ExecutionContext, changes: object = {}): Promise<string> => {
  const folder = await copyOf(t, "hira");
  await rewriteTensors(folder, (name) => name.replace("hira_", "lora_"));
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: "tiny-base",
    inference_mode: true,
    init_a: "kaiming",
    init_b: "zero",
    rand_R: false,
    r_ab: 2,
    target_modules: ["q_proj", "v_proj", "down_proj"],
    lora_alpha: 32,
    lora_dropout: 0.05,
    fan_in_fan_out: false,
    bias: "none",
    modules_to_save: null,
    init_lora_weights: true,
    scale_ab: 1,
    train_a: true,
    train_b: true,
    ...changes,
  };
  await writeFile(join(folder, configName), JSON.stringify(config));
  return folder;
};

test("readAdapter reads LORA with r_ab as the authors' HiRA, never as LoRA", async (t) => {
  const base = await loadAdapterBase();
  const { adapter, values } = await readAdapter(await authorsFolder(t), base);
  const peft = await readAdapter(peftFixture("hira"), base);
  t.deepEqual(adapter, peft.adapter);
  t.deepEqual(values, peft.values);

  // With names as LoRA has them the file is neither.
  const mixed = await authorsFolder(t);
  await rewriteTensors(mixed, (name) => `${name}.weight`);
  t.regex((await errorOf(t, mixed)).message, /found 24 faults\n.*lora_A": found nothing/);
});

test("writeAdapter and readAdapter keep HiRA's R, under a type that peft refuses", async (t) => {
  const base = await loadAdapterBase();
  const path = "model.layers.0.self_attn.k_proj";
  const adapter: LowRankAdapter = {
    method: "hira",
    baseModel: undefined,
    modules: new Map([[path, { rank: 2 }]]),
    options: { dropout: 0.1, randomR: true },
  };
  const values = new Map([
    [`${path}.A`, new Float32Array(16).fill(1)],
    [`${path}.B`, new Float32Array(8).fill(2)],
    [`${path}.R`, new Float32Array(32).fill(3)],
  ]);
  const folder = await makeTempFolder(t);
  await writeAdapter(folder, adapter, base, values);
  t.like(await readConfig(folder), {
    peft_type: "HIRA_RAND_R",
    target_modules: ["k_proj"],
    layers_to_transform: [0],
  });
  const read = await readAdapter(folder, base);
  t.deepEqual(read.adapter, adapter);
  t.deepEqual(new Map([...read.values].map(([name, { data }]) => [name, data])), values);
});

test("readAdapter lists missing, misshapen and unexpected tensors in one error", async (t) => {
  const folder = await copyOf(t, "hira", {
    r: 4,
    rank_pattern: {},
    target_modules: ["v_proj", "o_proj"],
  });
  await rewriteTensors(folder, (name) => (name.includes("down_proj") ? undefined : name));
  const { message, hint } = await errorOf(t, folder);
  const at = (layer: number): string => `base_model.model.model.layers.${String(layer)}.self_attn`;
  t.deepEqual(message.split("\n").slice(1), [
    `  "${at(0)}.v_proj.hira_A": found [2, 8], expected [4, 8]`,
    `  "${at(0)}.v_proj.hira_B": found [4, 2], expected [4, 4]`,
    `  "${at(0)}.o_proj.hira_A": found nothing, expected [4, 8]`,
    `  "${at(0)}.o_proj.hira_B": found nothing, expected [8, 4]`,
    `  "${at(1)}.v_proj.hira_A": found [2, 8], expected [4, 8]`,
    `  "${at(1)}.v_proj.hira_B": found [4, 2], expected [4, 4]`,
    `  "${at(1)}.o_proj.hira_A": found nothing, expected [4, 8]`,
    `  "${at(1)}.o_proj.hira_B": found nothing, expected [8, 4]`,
    `  "${at(0)}.q_proj.hira_A": found [2, 8], expected no such tensor in peft's HiRA`,
    `  "${at(0)}.q_proj.hira_B": found [8, 2], expected no such tensor in peft's HiRA`,
    `  "${at(1)}.q_proj.hira_A": found [2, 8], expected no such tensor in peft's HiRA`,
    `  "${at(1)}.q_proj.hira_B": found [8, 2], expected no such tensor in peft's HiRA`,
  ]);
  // No shape is another model's (9.22).
  t.notRegex(hint ?? "", /tiny-base/);
  t.regex(hint ?? "", /whether adapter_config.json says its ranks \(.*\) and its layers \(/);
});

test("readAdapter lists every field of the config that it cannot honour", async (t) => {
  const folder = await copyOf(t, "lora", {
    r: 0,
    lora_alpha: "6",
    bias: "all",
    modules_to_save: ["lm_haed"],
    init_lora_weights: "pissa",
    task_type: "SEQ_CLS",
    rank_pattern: { "(": 2 },
    use_qalora: true,
  });
  const { message } = await errorOf(t, folder);
  t.regex(message, /as peft's LoRA: found 8 faults/);
  for (const fault of [
    '"r": found 0, expected a whole number above 0',
    '"lora_alpha": found "6", expected a number above 0',
    '"bias": found "all", expected none: it is not supported here',
    '"modules_to_save": found ["lm_haed"], expected names of modules of this model',
    '"init_lora_weights": found "pissa", expected true, false',
    '"task_type": found "SEQ_CLS", expected "CAUSAL_LM"',
    '"rank_pattern": found {"(":2}, expected an object of module names',
    '"use_qalora": found true, expected none',
  ])
    t.true(message.includes(fault), `${fault} in ${message}`);
});

test("readAdapter refuses ranks that differ from r without a rank_pattern, naming the layers", async (t) => {
  const folder = await copyOf(t, "lora", { rank_pattern: {} });
  const { message, hint } = await errorOf(t, folder);
  t.deepEqual(message.split("\n").slice(1), [
    '  "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": found [1, 8], expected [2, 8]',
    '  "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": found [8, 1], expected [8, 2]',
  ]);
  t.regex(hint ?? "", /see whether adapter_config.json says its ranks/);
  t.notRegex(hint ?? "", /give that model/);
});

test("readAdapter names the adapter's own model only where shapes say so (9.22)", async (t) => {
  const base = await loadAdapterBase();
  const hintOf = async (name: string, rename: (tensor: string) => string | undefined) => {
    const folder = await copyOf(t, name);
    await rewriteTensors(folder, rename);
    return (await errorOf(t, folder)).hint ?? "";
  };
  const own = /made for "tiny-base": give that model/;
  // Names, a lost tensor, one too many: nothing that another model would mend.
  t.notRegex(await hintOf("lora", (name) => name.replace(".weight", ".default.weight")), own);
  t.notRegex(await hintOf("lora", (name) => (/0.*q_proj/.test(name) ? undefined : name)), own);
  t.notRegex(await hintOf("lora", (name) => name.replace("v_proj", "k_proj")), own);
  // Layers that the model lacks, or has more of.
  const thirdLayer = base.modules
    .filter(({ path }) => path.includes("layers.1."))
    .map((module) => ({ ...module, path: module.path.replace("layers.1.", "layers.2.") }));
  const deeper = { ...base, layers: 3, modules: [...base.modules, ...thirdLayer] };
  const shallow = {
    ...base,
    layers: 1,
    modules: base.modules.filter(({ path }) => !/s\.1\./.test(path)),
  };
  for (const other of [deeper, shallow]) {
    const error = await t.throwsAsync(readAdapter(peftFixture("hira"), other), {
      instanceOf: UserError,
    });
    t.regex(error.hint ?? "", own);
  }
  const sizes = { inFeatures: 32, outFeatures: 32 };
  const wider = { ...base, modules: base.modules.map((module) => ({ ...module, ...sizes })) };
  const error = await t.throwsAsync(readAdapter(peftFixture("hira"), wider), {
    instanceOf: UserError,
  });
  t.regex(error.hint ?? "", own);
  t.regex(error.message, /In common: the adapter has sizes of 8 where the model has 32/);
});

test("readAdapter reads modules_to_save, layers_to_transform and an LSTM's config as peft writes them", async (t) => {
  const base = await loadAdapterBase();
  const saved = await readAdapter(peftFixture("lora-saved"), base);
  t.deepEqual((saved.adapter as LowRankAdapter).modulesToSave, ["lm_head", "embed_tokens", "norm"]);
  t.deepEqual(saved.values.get("lm_head.weight")!.shape, [16, 8]);
  // "norm" ends the names of all norms.
  t.deepEqual(
    [...saved.values.keys()].filter((name) => name.includes("norm")).sort(),
    [0, 1]
      .flatMap((layer) =>
        ["input", "post_attention"].map((norm) => `model.layers.${layer}.${norm}_layernorm.weight`),
      )
      .concat("model.norm.weight"),
  );
  const hira = (await readAdapter(peftFixture("hira-saved"), base)).adapter as LowRankAdapter;
  t.false(hira.modules.has("model.layers.0.mlp.down_proj"));
  t.true(hira.modules.has("model.layers.1.mlp.down_proj"));
  const layers = (await readAdapter(peftFixture("lora-layers"), base)).adapter as LowRankAdapter;
  t.deepEqual(
    [...layers.modules].map(([path, own]) => [path, (own as { readonly rank: number }).rank]),
    [
      ["model.layers.1.self_attn.q_proj", 2],
      ["model.layers.1.self_attn.v_proj", 3],
      ["model.layers.1.mlp.down_proj", 2],
    ],
  );
  t.like(layers.options, { dropout: 0.1 });
  const lstm = await readAdapter(peftFixture("p-tuning-lstm"), base);
  t.like(lstm.adapter.options, { encoderType: "LSTM", encoderLayers: 2, virtualTokens: 3 });
});

test("readAdapter refuses virtual tokens of another model", async (t) => {
  const folder = await copyOf(t, "prefix", { num_layers: 3, token_dim: 8 });
  const { message } = await errorOf(t, folder);
  t.regex(message, /"token_dim": found 8, expected 4 for this model/);
  t.regex(message, /"num_layers": found 3, expected 2 for this model/);
  const more = await errorOf(t, await copyOf(t, "prefix", { num_virtual_tokens: 4 }));
  t.regex(more.hint ?? "", /see whether adapter_config\.json says num_virtual_tokens$/);
});

test("readAdapter refuses unknown types, targets without a match and missing files, each with a hint", async (t) => {
  const type = await errorOf(t, await copyOf(t, "hira", { peft_type: "SHIRA" }));
  t.regex(type.message, /found peft_type "SHIRA", expected one of HIRA, HIRA_RAND_R, LORA,/);
  t.is(type.hint, 'Did you mean "HIRA"?');
  const none = await errorOf(t, await copyOf(t, "hira", { target_modules: ["qkv_proj"] }));
  t.regex(none.message, /found target_modules \["qkv_proj"\], which match no linear layer/);

  const folder = await copyOf(t, "hira");
  await rm(join(folder, weightsName));
  t.regex((await errorOf(t, folder)).message, /found no adapter_model.safetensors/);
  await writeFile(join(folder, "adapter_model.bin"), "");
  const pickle = await errorOf(t, folder);
  t.regex(pickle.message, /found a pickle \(adapter_model.bin\)/);
  t.regex(pickle.hint ?? "", /python scripts\/convert_adapter_bin.py/);
  await rm(join(folder, configName));
  t.regex((await errorOf(t, folder)).message, /found no adapter_config.json/);
  t.regex((await errorOf(t, join(folder, "none"))).message, /found no such folder/);
});

test("readAdapter follows exclude_modules, layers_to_transform and all-linear", async (t) => {
  const base = await loadAdapterBase();
  const folder = await copyOf(t, "dora", {
    target_modules: "all-linear",
    exclude_modules: [..."qvo"]
      .map((letter) => `${letter}_proj`)
      .concat("mlp.up_proj", "gate_proj", "down_proj"),
    layers_to_transform: 1,
    layers_pattern: "layers",
  });
  const { adapter } = await readAdapter(folder, base);
  t.deepEqual([...(adapter as LowRankAdapter).modules.keys()], ["model.layers.1.self_attn.k_proj"]);
});

test("writeAdapter refuses values that are not the adapter's", async (t) => {
  const base = await loadAdapterBase();
  const { adapter, values } = await readAdapter(peftFixture("dora"), base);
  const data = new Map([...values].map(([name, value]) => [name, value.data]));
  data.set("model.layers.1.self_attn.k_proj.A", new Float32Array(3));
  data.set("other", new Float32Array(1));
  await t.throwsAsync(writeAdapter(await makeTempFolder(t), adapter, base, data), {
    instanceOf: RangeError,
    message:
      /expected values for "model.layers.1.self_attn.k_proj.A" \[2, 8\], found left over other/,
  });
});

testWithShared(
  "writeAdapter and readAdapter keep the goldens' trained HiRA adapter",
  "goldens/final_weights.safetensors",
  async (t, path) => {
    const base = await loadAdapterBase(join(path, "..", "tiny-llama"));
    const { entries } = await readSafetensorsHeader(path);
    const values = new Map<string, Float32Array>();
    for (const entry of entries.values())
      if (entry.name.startsWith("hira/"))
        values.set(entry.name.slice("hira/".length), await readTensorAsFloat32(entry));
    const targets = new Set([...values.keys()].map((name) => name.replace(/\.[AB]$/, "")));
    const adapter: LowRankAdapter = {
      method: "hira",
      baseModel: undefined,
      modules: new Map(
        base.modules.filter(({ path: p }) => targets.has(p)).map(({ path: p }) => [p, { rank: 8 }]),
      ),
      options: { dropout: 0, randomR: false },
    };
    const folder = await makeTempFolder(t);
    await writeAdapter(folder, adapter, base, values);
    t.deepEqual((await readConfig(folder)).target_modules, [
      "q_proj",
      "k_proj",
      "v_proj",
      "up_proj",
      "down_proj",
    ]);
    const read = await readAdapter(folder, base);
    t.deepEqual(read.adapter, adapter);
    t.is(read.values.size, 20);
    for (const [name, { data }] of read.values) t.deepEqual(data, values.get(name));
  },
);

test("a base on the Hub is read and written with its revision; a folder is what it is", async (t) => {
  const cases = [
    [{ base_model_name_or_path: "org/demo", revision: null }, "org/demo"],
    [{ base_model_name_or_path: "org/demo", revision: "v1.0" }, "org/demo@v1.0"],
    [{ base_model_name_or_path: "/models/demo", revision: "v1.0" }, "/models/demo"],
  ] as const;
  for (const [fields, baseModel] of cases) {
    const folder = await copyOf(t, "lora", fields);
    t.is((await readAdapterConfig(folder)).baseModel, baseModel);
    const base = await loadAdapterBase();
    const { adapter, values } = await readAdapter(folder, base);
    const written = await makeTempFolder(t);
    const data = new Map([...values].map(([name, value]) => [name, value.data]));
    await writeAdapter(written, adapter, base, data);
    t.like(await readConfig(written), {
      ...fields,
      revision: baseModel.startsWith("/") ? null : fields.revision,
    });
  }
});
