import { readFileSync } from "node:fs";
import test from "ava";
import type { DType } from "../../src/core/dtype.js";
import { UserError } from "../../src/core/errors.js";
import type { JsonObject } from "../../src/core/json-file.js";
import type { DecoderConfig } from "../../src/models/blocks/decoder-config.js";
import { readRope } from "../../src/models/blocks/rope-config.js";
import { ropeTable } from "../../src/models/blocks/rope.js";
import { checkModelTensors } from "../../src/models/check-tensors.js";
import { readLlamaConfig } from "../../src/models/families/llama.js";
import { parseConfig } from "../../src/models/model-folder.js";
import type { Model } from "../../src/models/model.js";
import type { TensorEntry } from "../../src/models/weights/safetensors.js";

const sizes = {
  vocab_size: 256,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};

const parse = (fields: object): Model =>
  parseConfig({ ...sizes, ...fields, model_type: "llama" }, "config.json");

const read = (fields: object): DecoderConfig => readLlamaConfig({ ...sizes, ...fields }, []);

const entriesOf = (
  tensors: ReadonlyMap<string, readonly number[]>,
  dtype: DType = "bfloat16",
): Map<string, TensorEntry> =>
  new Map(
    [...tensors].map(([name, shape]) => [
      name,
      { name, dtype, shape, file: "model.safetensors", byteOffset: 0, byteLength: 0 },
    ]),
  );

test("readLlamaConfig fills in transformers' defaults", (t) => {
  t.deepEqual(read({}), {
    modelType: "llama",
    vocabSize: 256,
    hiddenSize: 64,
    intermediateSize: 96,
    layers: 2,
    heads: 4,
    kvHeads: 4,
    headDim: 16,
    rotaryDim: 16,
    ropeTheta: 10000,
    ropeScaling: null,
    maxPositionEmbeddings: 2048,
    rmsNormEps: 1e-6,
    activation: "silu",
    tieWordEmbeddings: false,
    qkvBias: false,
    outputBias: false,
    headNorms: false,
    mlpBias: false,
    attentionDropout: 0,
    windows: [undefined, undefined],
    bosId: 1,
    eosIds: [2],
    padId: undefined,
  });
});

test("readLlamaConfig reads every field, and null as absent", (t) => {
  const config = read({
    num_key_value_heads: 2,
    head_dim: 32,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    attention_bias: true,
    mlp_bias: true,
    rope_theta: 1e6,
    rope_scaling: null,
    bos_token_id: null,
    eos_token_id: [128001, 128009],
    pad_token_id: -1,
  });
  t.like(config, {
    kvHeads: 2,
    headDim: 32,
    maxPositionEmbeddings: 512,
    rmsNormEps: 1e-5,
    tieWordEmbeddings: true,
    qkvBias: true,
    outputBias: true,
    mlpBias: true,
    ropeTheta: 1e6,
    ropeScaling: null,
    bosId: undefined,
    eosIds: [128001, 128009],
    padId: undefined,
  });
});

test("readLlamaConfig reads rope fields of transformers 4 and of transformers 5", (t) => {
  const llama3 = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const scaling = {
    type: "llama3",
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositionEmbeddings: 8192,
  } as const;
  const older = read({ rope_theta: 5e5, rope_scaling: { rope_type: "llama3", ...llama3 } });
  t.like(older, { ropeTheta: 5e5, ropeScaling: scaling });
  const newer = read({ rope_parameters: { rope_type: "llama3", rope_theta: 5e5, ...llama3 } });
  t.like(newer, { ropeTheta: 5e5, ropeScaling: scaling });
  const linear = read({ rope_scaling: { type: "linear", factor: 2 } });
  t.like(linear, { ropeTheta: 10000, ropeScaling: { type: "linear", factor: 2 } });
  const plain = read({ rope_parameters: { rope_type: "default", rope_theta: 2e4 } });
  t.like(plain, { ropeTheta: 2e4, ropeScaling: null });
});

test("readRope tells what is wrong with a scaling's fields", (t) => {
  const faultsOf = (rope: object, partial = false): readonly string[] => {
    const faults: string[] = [];
    readRope({ ...rope }, faults, { headDim: 8, maxPositionEmbeddings: 64, partial });
    return faults;
  };
  t.deepEqual(faultsOf({ rope_scaling: { type: "dynamic" } }), [
    '"rope_scaling.factor": found nothing, expected a number above 0',
  ]);
  t.deepEqual(
    faultsOf({
      rope_parameters: { rope_type: "yarn", factor: 2, beta_fast: "32", truncate: 1, mscale: -1 },
    }),
    [
      '"rope_parameters.mscale": found -1, expected a number above 0',
      '"rope_parameters.beta_fast": found "32", expected a number above 0',
      '"rope_parameters.truncate": found 1, expected true or false',
    ],
  );
  const lists = { short_factor: [1, 2, 3], original_max_position_embeddings: 32 };
  t.deepEqual(faultsOf({ rope_scaling: { type: "longrope", ...lists } }), [
    '"rope_scaling.short_factor": found [1,2,3], expected a list of 4 numbers above 0',
    '"rope_scaling.long_factor": found nothing, expected a list of 4 numbers above 0',
  ]);
  t.deepEqual(faultsOf({ partial_rotary_factor: 0.3 }, true), []);
  t.deepEqual(faultsOf({ partial_rotary_factor: 0.4 }, true), [
    '"partial_rotary_factor": found 0.4, expected a share of the 8 elements of a head that is even',
  ]);
  t.deepEqual(faultsOf({ rope_parameters: { full_attention: { rope_theta: 1e6 } } }), [
    '"rope_parameters.full_attention": found {"rope_theta":1000000}, expected none: all layers have the same frequencies here',
  ]);
});

test("readLlamaConfig lists all faults in one error", (t) => {
  const raw: JsonObject = {
    hidden_size: 64,
    intermediate_size: "96",
    num_hidden_layers: 0,
    num_attention_heads: 4,
    num_key_value_heads: 3,
    hidden_act: "geglu",
    rms_norm_eps: -1,
    tie_word_embeddings: "yes",
    rope_theta: 0,
    rope_scaling: { rope_type: "ntk", factor: 4 },
    partial_rotary_factor: 0.5,
    quantization_config: { quant_method: "gptq" },
    eos_token_id: [1, "2"],
  };
  const error = t.throws(() => parseConfig({ ...raw, model_type: "llama" }, "m/config.json"), {
    instanceOf: UserError,
  });
  const [first, ...faults] = error.message.split("\n");
  t.is(first, `Cannot load m/config.json: found ${String(faults.length)} faults`);
  t.deepEqual(faults.sort(), [
    '  "eos_token_id": found [1,"2"], expected a token id or a list of them',
    '  "hidden_act": found "geglu", expected one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish, tanh',
    '  "intermediate_size": found "96", expected a whole number above 0',
    '  "num_hidden_layers": found 0, expected a whole number above 0',
    '  "num_key_value_heads": found 3, expected a divisor of num_attention_heads (4)',
    '  "partial_rotary_factor": found 0.5, expected 1: only whole heads are rotated here',
    '  "quantization_config": found {"quant_method":"gptq"}, expected none: quantized weights are not read, use the original model',
    '  "rms_norm_eps": found -1, expected a number above 0',
    '  "rope_scaling.rope_type": found "ntk", expected one of "default", "linear", "dynamic", "yarn", "longrope", "llama3"',
    '  "rope_theta": found 0, expected a number above 0',
    '  "tie_word_embeddings": found "yes", expected true or false',
    '  "vocab_size": found nothing, expected a whole number above 0',
  ]);
});

test("readLlamaConfig refuses heads that cannot be split or rotated", (t) => {
  t.throws(() => parse({ num_attention_heads: 5 }), {
    message:
      /"hidden_size": found 64, expected a multiple of num_attention_heads \(5\), or a head_dim/,
  });
  t.throws(() => parse({ head_dim: 5 }), {
    message: /"head_dim": found 5, expected an even number/,
  });
  t.throws(() => parse({ num_attention_heads: 64 }), {
    message: /"hidden_size": found 64, expected an even/,
  });
  t.notThrows(() => parse({ num_attention_heads: 5, head_dim: 16 }));
});

test("llamaTensors has biases, grouped heads and the output layer where the config says so", (t) => {
  const plain = parse({ num_key_value_heads: 2 }).tensors;
  t.is(plain.size, 21);
  t.deepEqual(plain.get("model.layers.1.self_attn.k_proj.weight"), [32, 64]);
  t.deepEqual(plain.get("model.layers.1.mlp.down_proj.weight"), [64, 96]);
  t.deepEqual(plain.get("lm_head.weight"), [256, 64]);
  const wide = parse({
    ...{ head_dim: 32, attention_bias: true, mlp_bias: true, tie_word_embeddings: true },
  }).tensors;
  t.is(wide.size, 20 + 14);
  t.deepEqual(wide.get("model.layers.0.self_attn.o_proj.weight"), [64, 128]);
  t.deepEqual(wide.get("model.layers.0.self_attn.q_proj.bias"), [128]);
  t.deepEqual(wide.get("model.layers.0.mlp.up_proj.bias"), [96]);
  t.false(wide.has("lm_head.weight"));
});

test("llamaLinears names the layers that an adapter may target", (t) => {
  const { linears } = parse({ num_key_value_heads: 1 });
  t.is(linears.length, 14);
  t.deepEqual(
    linears.find(({ path }) => path === "model.layers.1.self_attn.v_proj"),
    {
      path: "model.layers.1.self_attn.v_proj",
      inFeatures: 64,
      outFeatures: 16,
      bias: false,
    },
  );
});

test("checkModelTensors tolerates what the model computes or shares", (t) => {
  const model = parse({ tie_word_embeddings: true });
  const entries = entriesOf(model.tensors);
  const extra = new Map<string, readonly number[]>([
    ["model.layers.0.self_attn.rotary_emb.inv_freq", [8]],
    ["lm_head.weight", [256, 64]],
  ]);
  for (const [name, entry] of entriesOf(extra)) entries.set(name, entry);
  t.notThrows(() => {
    checkModelTensors(model, entries, "m");
  });
});

test("checkModelTensors lists missing, misshapen, integer and foreign tensors in one error", (t) => {
  const model = parse({});
  const entries = entriesOf(model.tensors);
  const set = (name: string, dtype: DType, shape: readonly number[]): void => {
    for (const [key, entry] of entriesOf(new Map([[name, shape]]), dtype)) entries.set(key, entry);
  };
  entries.delete("model.norm.weight");
  entries.delete("lm_head.weight");
  set("model.layers.0.mlp.up_proj.weight", "float32", [64, 96]);
  set("model.layers.1.mlp.up_proj.weight", "int8", [96, 64]);
  set("model.layers.1.mlp.gate_proj.weight", "float64", [96, 64]);
  set("model.layers.2.mlp.up_proj.weight", "float32", [96, 64]);
  const error = t.throws(
    () => {
      checkModelTensors(model, entries, "m");
    },
    { instanceOf: UserError },
  );
  t.is(
    error.message,
    [
      "Cannot load weights from m: found 6 faults",
      '  "model.layers.0.mlp.up_proj.weight": found [64, 96], expected [96, 64]',
      '  "model.layers.1.mlp.gate_proj.weight": found float64, expected float32, float16 or bfloat16',
      '  "model.layers.1.mlp.up_proj.weight": found int8, expected float32, float16 or bfloat16',
      '  "model.norm.weight": found nothing, expected [64]',
      '  "lm_head.weight": found nothing, expected [256, 64]',
      '  "model.layers.2.mlp.up_proj.weight": found [96, 64], expected no such tensor in this model',
    ].join("\n"),
  );
  t.regex(error.hint ?? "", /"tie_word_embeddings": true/);
});

test("checkModelTensors says which num_key_value_heads the weights were made with", (t) => {
  const entries = entriesOf(parse({ num_key_value_heads: 2 }).tensors);
  const error = t.throws(
    () => {
      checkModelTensors(parse({}), entries, "m");
    },
    { instanceOf: UserError },
  );
  t.regex(
    error.message,
    /"model.layers.0.self_attn.k_proj.weight": found \[32, 64\], expected \[64, 64\]/,
  );
  t.regex(error.hint ?? "", /num_key_value_heads 4, or nothing: .*\(here 2\)/);
});

interface RopeFields {
  readonly model_type?: string;
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly head_dim?: number;
  readonly max_position_embeddings?: number;
}

/** See scripts/reference/rope_tables.py. */
const reference = JSON.parse(
  readFileSync(new URL("../fixtures/models/rope-tables.json", import.meta.url), "utf8"),
) as {
  positions: number[];
  cases: Record<string, { config: RopeFields; cos: number[]; sin: number[] }>;
};

for (const [name, { config: fields, cos, sin }] of Object.entries(reference.cases)) {
  test(`ropeTable equals transformers' table: ${name}`, (t) => {
    const isPhi = fields.model_type === "phi3";
    const raw = { max_position_embeddings: 131072, ...fields };
    const faults: string[] = [];
    const config = readRope(raw, faults, {
      headDim: fields.head_dim ?? fields.hidden_size / fields.num_attention_heads,
      maxPositionEmbeddings: raw.max_position_embeddings,
      ...(isPhi && { partial: true, aliases: { yarn: "longrope" } }),
    });
    t.deepEqual(faults, []);
    const half = config.rotaryDim / 2;
    t.is(cos.length, reference.positions.length * half);
    const table = ropeTable(config, Math.max(...reference.positions) + 1);
    const worst = { cos: 0, sin: 0 };
    reference.positions.forEach((position, row) => {
      for (let i = 0; i < half; i++) {
        const at = position * half + i;
        worst.cos = Math.max(worst.cos, Math.abs(table.cos[at]! - cos[row * half + i]!));
        worst.sin = Math.max(worst.sin, Math.abs(table.sin[at]! - sin[row * half + i]!));
      }
    });
    t.true(worst.cos <= 1e-6 && worst.sin <= 1e-6, JSON.stringify(worst));
  });
}
