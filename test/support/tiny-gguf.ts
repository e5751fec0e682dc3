import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { float16FromFloat32 } from "../../src/core/half.js";
import { randomStream } from "../../src/core/random.js";
import { blockCodecs } from "../../src/models/weights/blocks/block-codec.js";
import { writeSafetensors } from "../../src/models/weights/safetensors.js";
import { ggufBytes, type GgufTensorBytes, type TypedValue } from "./gguf-bytes.js";

const sizes = { hidden: 32, heads: 4, kvHeads: 2, inner: 64, layers: 2 };
const headDim = sizes.hidden / sizes.heads;

/** Letters, a few pairs, and three tokens of other kinds. */
const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
export const tinyTokens = [
  "<|pad|>",
  "<|end|>",
  "<|tool|>",
  ...letters,
  "Ġ",
  "Ċ",
  "th",
  "Ġth",
  "the",
];
const merges = ["t h", "Ġ th", "th e"];

export const tinyMetadata: Readonly<Record<string, TypedValue>> = {
  "general.architecture": { text: "llama" },
  "llama.block_count": { uint32: sizes.layers },
  "llama.context_length": { uint32: 128 },
  "llama.embedding_length": { uint32: sizes.hidden },
  "llama.feed_forward_length": { uint32: sizes.inner },
  "llama.attention.head_count": { uint32: sizes.heads },
  "llama.attention.head_count_kv": { uint32: sizes.kvHeads },
  "llama.rope.freq_base": { float32: 10000 },
  "llama.rope.dimension_count": { uint32: headDim },
  "llama.attention.layer_norm_rms_epsilon": { float32: 1e-5 },
  "tokenizer.ggml.model": { text: "gpt2" },
  "tokenizer.ggml.pre": { text: "smollm" },
  "tokenizer.ggml.tokens": { texts: tinyTokens },
  "tokenizer.ggml.token_type": { int32s: tinyTokens.map((_, i) => (i < 2 ? 3 : i === 2 ? 4 : 1)) },
  "tokenizer.ggml.merges": { texts: merges },
  "tokenizer.ggml.eos_token_id": { uint32: 1 },
  "tokenizer.ggml.padding_token_id": { uint32: 0 },
  "tokenizer.chat_template": { text: "{{ messages }}" },
};

const typeNumbers: Readonly<Record<string, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
};

interface MadeTensor {
  readonly gguf: GgufTensorBytes;
  readonly values: Float32Array;
}

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** A tensor of random numbers of a type, and what they are in float32. */
const makeTensor = (name: string, type: string, shape: readonly number[]): MadeTensor => {
  const stream = randomStream(3, name);
  const count = shape.reduce((a, b) => a * b, 1);
  const made = (data: Uint8Array, values: Float32Array): MadeTensor => ({
    gguf: { name, axes: [...shape].reverse(), type: typeNumbers[type] ?? 99, data },
    values,
  });
  const codec = blockCodecs.get(type);
  if (!codec) {
    const numbers = Float32Array.from({ length: count }, () =>
      name.includes("norm") ? 1 + 0.1 * stream.normal() : 0.3 * stream.normal(),
    );
    if (type === "F32") return made(bytesOf(numbers), numbers);
    const halves = Uint16Array.from(numbers, float16FromFloat32);
    return made(
      bytesOf(halves),
      Float32Array.from(numbers, (x) => halfOf(x)),
    );
  }
  const data = Uint8Array.from({ length: codec.byteLength(shape) }, () => stream.integer(256));
  const [part] = codec.parts(shape);
  const blockBytes = (part?.shape.at(-1) ?? 1) * 2;
  const scale = float16FromFloat32(type === "Q8_0" ? 0.004 : 0.03);
  const least = float16FromFloat32(-0.3);
  for (let at = 0; at < data.length; at += blockBytes) {
    data.set([scale & 255, scale >>> 8], at);
    if (type.endsWith("_1")) data.set([least & 255, least >>> 8], at + 2);
  }
  return made(data, codec.unpack([new Uint16Array(), data], shape));
};

/** A float32 number as near as float16 comes. */
const halfOf = (x: number): number => {
  const bits = float16FromFloat32(x);
  const [sign, exponent, mantissa] = [bits >>> 15 ? -1 : 1, (bits >>> 10) & 31, bits & 1023];
  return exponent === 0
    ? sign * mantissa * 2 ** -24
    : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
};

/** Rows of queries or keys in the order of transformers: row r of a head's halves from row 2 i + half of the file's pairs. */
const unpaired = (values: Float32Array, heads: number, width: number): Float32Array => {
  const out = new Float32Array(values.length);
  const half = values.length / width / heads / 2;
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < half; i++)
      for (const side of [0, 1])
        for (let column = 0; column < width; column++)
          out[((head * 2 + side) * half + i) * width + column] =
            values[((head * half + i) * 2 + side) * width + column] ?? NaN;
  return out;
};

type Layout = readonly [
  gguf: string,
  hf: string,
  type: string,
  shape: readonly number[],
  heads?: number,
];

const layout = (): readonly Layout[] => {
  const { hidden, heads, kvHeads, inner, layers } = sizes;
  const keys = kvHeads * headDim;
  const blocks = Array.from({ length: layers }, (_, i): Layout[] => {
    const [from, to] = [`blk.${String(i)}.`, `model.layers.${String(i)}.`];
    return [
      [`${from}attn_norm.weight`, `${to}input_layernorm.weight`, "F32", [hidden]],
      [`${from}attn_q.weight`, `${to}self_attn.q_proj.weight`, "Q4_0", [hidden, hidden], heads],
      [`${from}attn_k.weight`, `${to}self_attn.k_proj.weight`, "F16", [keys, hidden], kvHeads],
      [`${from}attn_v.weight`, `${to}self_attn.v_proj.weight`, "Q5_0", [keys, hidden]],
      [`${from}attn_output.weight`, `${to}self_attn.o_proj.weight`, "Q5_1", [hidden, hidden]],
      [`${from}ffn_norm.weight`, `${to}post_attention_layernorm.weight`, "F32", [hidden]],
      [`${from}ffn_gate.weight`, `${to}mlp.gate_proj.weight`, "Q4_1", [inner, hidden]],
      [`${from}ffn_up.weight`, `${to}mlp.up_proj.weight`, "F16", [inner, hidden]],
      [`${from}ffn_down.weight`, `${to}mlp.down_proj.weight`, "Q8_0", [hidden, inner]],
    ];
  });
  return [
    ["token_embd.weight", "model.embed_tokens.weight", "Q8_0", [tinyTokens.length, hidden]],
    ...blocks.flat(),
    ["output_norm.weight", "model.norm.weight", "F32", [hidden]],
  ];
};

export interface TinyGguf {
  /** The GGUF file. */
  readonly file: string;
  /** The same model as a Hugging Face folder in float32. */
  readonly folder: string;
  readonly values: ReadonlyMap<string, Float32Array>;
  readonly tensors: readonly GgufTensorBytes[];
}

/** A model of random blocks of several types, tied, and the same in float32. */
export const makeTinyGguf = async (path: string): Promise<TinyGguf> => {
  const [file, folder] = [join(path, "tiny.gguf"), join(path, "converted")];
  const made = layout().map(([name, hfName, type, shape, heads]) => {
    const { gguf, values } = makeTensor(name, type, shape);
    return {
      gguf,
      name: hfName,
      shape,
      values: heads === undefined ? values : unpaired(values, heads, shape[1] ?? 1),
    };
  });
  const tensors = made.map(({ gguf }) => gguf);
  await writeFile(file, ggufBytes({ metadata: tinyMetadata, tensors }));
  await mkdir(folder);
  await writeSafetensors(
    join(folder, "model.safetensors"),
    made.map(({ name, shape, values }) => ({ name, shape, dtype: "float32", data: values })),
  );
  const config = {
    model_type: "llama",
    vocab_size: tinyTokens.length,
    hidden_size: sizes.hidden,
    intermediate_size: sizes.inner,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    bos_token_id: null,
    eos_token_id: 1,
    pad_token_id: 0,
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return { file, folder, tensors, values: new Map(made.map(({ name, values }) => [name, values])) };
};
