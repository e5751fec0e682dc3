import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../../src/core/errors.js";
import { loadModelFolder } from "../../../src/models/model-folder.js";
import { openFrozenWeights } from "../../../src/models/weights/frozen-weights.js";
import type { JsonObject } from "../../../src/core/json-file.js";
import { GgufFields } from "../../../src/models/gguf/gguf-fields.js";
import { readGgufTokenizer } from "../../../src/models/gguf/gguf-tokenizer.js";
import type { GgufValue } from "../../../src/models/gguf/gguf-values.js";
import { turnedStored } from "../../../src/models/gguf/paired-rows.js";
import { blockCodecs } from "../../../src/models/weights/blocks/block-codec.js";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorPart,
} from "../../../src/models/weights/safetensors.js";
import { loadTokenizer } from "../../../src/tokenizer/load-tokenizer.js";
import { ggufBytes, type GgufTensorBytes, type TypedValue } from "../../support/gguf-bytes.js";
import { makeTempFolder } from "../../support/temp-folder.js";
import { makeTinyGguf, tinyMetadata, tinyTokens, type TinyGguf } from "../../support/tiny-gguf.js";

const makeTiny = async (t: ExecutionContext): Promise<TinyGguf> =>
  makeTinyGguf(await makeTempFolder(t));

/** The error of a file like the tiny one with other metadata or tensors. */
const refusal = async (
  t: ExecutionContext,
  changes: {
    readonly metadata?: Readonly<Record<string, TypedValue | undefined>>;
    readonly tensors?: (tensors: readonly GgufTensorBytes[]) => readonly GgufTensorBytes[];
  },
): Promise<string> => {
  const { file, tensors } = await makeTiny(t);
  const metadata = Object.fromEntries(
    Object.entries({ ...tinyMetadata, ...changes.metadata }).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, value]],
    ),
  );
  await writeFile(file, ggufBytes({ metadata, tensors: changes.tensors?.(tensors) ?? tensors }));
  const load = async (): Promise<void> => {
    await loadModelFolder(file);
  };
  return (await t.throwsAsync(load(), { instanceOf: UserError })).message;
};

test("loadModelFolder gives a GGUF file as the folder that it was converted from", async (t) => {
  const { file, folder, values } = await makeTiny(t);
  const [model, converted] = [await loadModelFolder(file), await loadModelFolder(folder)];
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  t.deepEqual(plain(model.model), plain(converted.model));
  t.deepEqual(model.files, ["tiny.gguf"]);
  t.deepEqual(model.tokenIds, { bosId: undefined, eosIds: [1], padId: 0 });
  t.deepEqual([...model.weights.keys()].sort(), [...converted.weights.keys()].sort());
  for (const [name, entry] of model.weights) {
    t.deepEqual(entry.shape, converted.weights.get(name)?.shape, name);
    t.deepEqual(await readTensorAsFloat32(entry), values.get(name), name);
  }
  const query = model.weights.get("model.layers.1.self_attn.q_proj.weight");
  if (!query) throw new RangeError("no query");
  t.deepEqual(await readTensorPart(query, 40, 7), values.get(query.name)?.slice(40, 47));
  t.deepEqual([...new Set(model.shardOf.values())], ["model.safetensors"]);
});

test("openFrozenWeights maps a GGUF file's blocks, and decodes what it is asked for", async (t) => {
  const { file, values } = await makeTiny(t);
  const { weights } = await loadModelFolder(file);
  const frozen = await openFrozenWeights(weights, { storage: "stored" });
  t.is(frozen.ownedBytes, 0);
  for (const name of weights.keys()) {
    const type = frozen.typeOf(name);
    if (type.codec) t.deepEqual(frozen.tensor(name).data, values.get(name), name);
  }
  t.is(frozen.typeOf("model.layers.0.mlp.gate_proj.weight").codec?.name, "Q4_1");
  t.is(frozen.typeOf("model.layers.0.mlp.up_proj.weight").dtype, "float16");
  t.is(frozen.typeOf("model.norm.weight").codec, undefined);
});

test("loadTokenizer makes a tokenizer from a GGUF file's metadata", async (t) => {
  const { file } = await makeTiny(t);
  const tokenizer = await loadTokenizer(file);
  const text = "the <|tool|>\nbath 12<|end|>";
  const ids = tokenizer.encode(text);
  t.deepEqual(
    ids.map((id) => tinyTokens[id]),
    ["the", "Ġ", "<|tool|>", "Ċ", "b", "a", "th", "Ġ", "1", "2", "<|end|>"],
  );
  t.is(tokenizer.decode(ids), text);
  t.is(tokenizer.decode(ids, { skipSpecialTokens: true }), "the <|tool|>\nbath 12");
  t.is(tokenizer.eosId, 1);
  t.is(tokenizer.padId, 0);
});

test("loadModelFolder reads a model in several parts, whichever is given", async (t) => {
  const { file, tensors } = await makeTiny(t);
  const whole = await loadModelFolder(file);
  const folder = await makeTempFolder(t);
  const part = (i: number): string => join(folder, `m-0000${String(i)}-of-00002.gguf`);
  const split = (i: number, count = tensors.length): Readonly<Record<string, TypedValue>> => ({
    "split.no": { uint32: i },
    "split.count": { uint32: 2 },
    "split.tensors.count": { int32: count },
  });
  const write = (i: number, count?: number): Promise<void> =>
    writeFile(
      part(i + 1),
      ggufBytes({
        metadata: { ...(i === 0 && tinyMetadata), ...split(i, count) },
        tensors: i === 0 ? tensors.slice(0, 5) : tensors.slice(5),
      }),
    );
  await write(0);
  t.regex(
    (await t.throwsAsync(loadModelFolder(part(1)))).message,
    /m-00002-of-00002.gguf: found no such file/,
  );
  await write(1);
  for (const i of [1, 2]) {
    const model = await loadModelFolder(part(i));
    t.deepEqual(model.files, ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
    t.deepEqual([...model.weights.keys()], [...whole.weights.keys()]);
    t.deepEqual(model.rawConfig, whole.rawConfig);
  }
  await write(0, 99);
  t.regex(
    (await t.throwsAsync(loadModelFolder(part(1)))).message,
    /found 20 tensors .* expected 99/,
  );
  await rename(part(2), join(folder, "other.gguf"));
  const renamed = await t.throwsAsync(loadModelFolder(join(folder, "other.gguf")));
  t.regex(renamed.message, /found one of 2 parts under another name/);
});

test("loadModelFolder refuses other architectures, types without a codec and what a Llama lacks", async (t) => {
  t.regex(
    await refusal(t, { metadata: { "general.architecture": { text: "mamba" } } }),
    /found general.architecture "mamba", expected one of llama/,
  );
  t.regex(
    await refusal(t, { metadata: { "general.type": { text: "adapter" } } }),
    /of the type "adapter"/,
  );
  t.regex(
    await refusal(t, {
      tensors: (all) => [
        ...all,
        { name: "odd", axes: [256], type: 23, data: new Uint8Array(136) },
        { name: "odder", axes: [256], type: 23, data: new Uint8Array(136) },
      ],
    }),
    /"odd" and 1 others: found IQ4_XS, expected one of F32, F16, BF16, Q4_0/,
  );
  t.regex(
    await refusal(t, {
      tensors: (all) => all.filter(({ name }) => name !== "blk.1.ffn_up.weight"),
    }),
    /"model.layers.1.mlp.up_proj.weight": found nothing/,
  );
  t.regex(
    await refusal(t, {
      tensors: (all) => [
        ...all,
        { name: "blk.0.ffn_gate_inp.weight", axes: [32], type: 0, data: new Uint8Array(128) },
      ],
    }),
    /"blk.0.ffn_gate_inp.weight": .*no such tensor in this model/,
  );
});

test("loadModelFolder lists every field of a GGUF file that is missing or not to be used", async (t) => {
  const message = await refusal(t, {
    metadata: {
      "llama.block_count": undefined,
      "llama.attention.head_count_kv": { text: "two" },
      "llama.rope.dimension_count": { uint32: 4 },
      "llama.expert_count": { uint32: 8 },
      "tokenizer.ggml.pre": { text: "unheard-of" },
      "tokenizer.ggml.eos_token_id": { uint32: 5000 },
    },
  });
  t.regex(message, /"llama.block_count": found nothing, expected a whole number above 0/);
  t.regex(message, /"llama.attention.head_count_kv": found "two"/);
  t.regex(message, /"llama.rope.dimension_count": found 4, expected 8/);
  t.regex(message, /"llama.expert_count": found 8/);
  t.regex(message, /"tokenizer.ggml.pre": found "unheard-of", expected one of gpt-2, smollm/);
  t.regex(message, /"tokenizer.ggml.eos_token_id": found 5000/);
});

test("readGgufTokenizer lets the special tokens of Phi-3 take the white space behind them, as its own tokenizer does", (t) => {
  const tokens = ["<unk>", "<s>", "<|endoftext|>", "<|user|>"];
  const added = (architecture: string): unknown => {
    const faults: string[] = [];
    const metadata = new Map<string, GgufValue>([
      ["general.architecture", architecture],
      ["tokenizer.ggml.model", "llama"],
      ["tokenizer.ggml.tokens", tokens],
      ["tokenizer.ggml.token_type", [2, 3, 3, 4]],
      ["tokenizer.ggml.scores", [0, 0, 0, 0]],
    ]);
    const files = readGgufTokenizer(new GgufFields(metadata, faults), 64);
    t.deepEqual(faults, []);
    return (files?.["tokenizer.json"].added_tokens as JsonObject[]).map(({ rstrip }) => rstrip);
  };
  t.deepEqual(added("phi3"), [false, false, false, true]);
  t.deepEqual(added("llama"), [false, false, false, false]);
});

test("turnedStored decodes blocks of a matrix whose axes are exchanged in the file", async (t) => {
  const fixture = new URL("../../fixtures/gguf/blocks.safetensors", import.meta.url).pathname;
  const { entries } = await readSafetensorsHeader(fixture);
  const [bytes, values] = [entries.get("Q2_K.bytes"), entries.get("Q2_K.values")];
  const codec = blockCodecs.get("Q2_K");
  if (!bytes || !values || !codec) return t.fail("no fixture");
  const [rows, columns] = [3, 512];
  const turned = turnedStored(codec);
  t.is(turned.byteLength([columns, rows]), bytes.byteLength);
  const entry = { ...bytes, dtype: "float32" as const, shape: [columns, rows], codec: turned };
  const [found, expected] = [await readTensorAsFloat32(entry), await readTensorAsFloat32(values)];
  t.deepEqual(
    found,
    expected.map((_, i) => expected[(i % rows) * columns + Math.floor(i / rows)] ?? NaN),
  );
});
