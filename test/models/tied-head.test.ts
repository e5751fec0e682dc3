import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { narrowFloat32 } from "../../src/core/half.js";
import { parseConfig } from "../../src/models/model-folder.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import {
  readTensorData,
  writeSafetensors,
  type TensorToWrite,
} from "../../src/models/weights/safetensors.js";
import { makeTempFolder } from "../support/temp-folder.js";

const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"];

const rawConfig = {
  model_type: "llama",
  vocab_size: 8,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  tie_word_embeddings: true,
};

/** Numbers that bfloat16 has too. */
const numbers = Float32Array.from({ length: 32 }, (_, i) => i / 8);

const tensor = (name: string, data: TensorToWrite["data"] = numbers): TensorToWrite => ({
  name,
  dtype: data instanceof Uint16Array ? "bfloat16" : "float32",
  shape: [8, 4],
  data,
});

/** A model that says it is tied, with the given tensors for embedding and head. */
const makeModel = async (
  t: ExecutionContext,
  ...tables: readonly TensorToWrite[]
): Promise<string> => {
  const folder = await makeTempFolder(t);
  const shapes = parseConfig(rawConfig, "config.json").tensors;
  const others = [...shapes].filter(([name]) => name !== embedding);
  await writeFile(join(folder, "config.json"), JSON.stringify(rawConfig));
  await writeSafetensors(join(folder, "model.safetensors"), [
    ...tables,
    ...others.map(([name, shape]): TensorToWrite => {
      const data = new Float32Array(shape.reduce((n, d) => n * d)).fill(1);
      return { name, dtype: "float32", shape, data };
    }),
  ]);
  return folder;
};

test("a head that differs from the embedding it is said to be counts, with one warning (9.3)", async (t) => {
  const folder = await makeModel(
    t,
    tensor(embedding),
    tensor(
      head,
      numbers.map((x) => x + 1),
    ),
  );
  const { model, rawConfig: raw, weights, warnings, shardOf } = await loadModelFolder(folder);
  t.false(model.tieWordEmbeddings);
  t.deepEqual(raw, { ...rawConfig, tie_word_embeddings: false });
  t.true(weights.has(head) && shardOf.has(head));
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? "", /"tie_word_embeddings": true, but the weights hold a lm_head.weight/);
});

test("a head that differs in its last number alone counts too (9.3)", async (t) => {
  const other = numbers.slice().fill(0, 31);
  const folder = await makeModel(t, tensor(embedding), tensor(head, other));
  t.false((await loadModelFolder(folder)).model.tieWordEmbeddings);
});

test("a head with the embedding's numbers is the embedding, in whatever dtype it is stored (9.3)", async (t) => {
  for (const copy of [numbers, narrowFloat32(numbers, "bfloat16")]) {
    const folder = await makeModel(t, tensor(embedding), tensor(head, copy));
    const { model, rawConfig: raw, weights, warnings, shardOf } = await loadModelFolder(folder);
    t.true(model.tieWordEmbeddings);
    t.deepEqual(raw, rawConfig);
    t.deepEqual(warnings, []);
    // What changes the embedding must not leave a head of before behind.
    t.false(weights.has(head) || shardOf.has(head));
  }
});

test("a head without the embedding it is tied to stands for both (9.3)", async (t) => {
  const { model, weights, warnings, shardOf } = await loadModelFolder(
    await makeModel(t, tensor(head)),
  );
  t.true(model.tieWordEmbeddings);
  t.deepEqual(warnings, []);
  t.false(weights.has(head) || shardOf.has(head));
  const entry = weights.get(embedding);
  t.is(entry?.name, embedding);
  t.is(shardOf.get(embedding), "model.safetensors");
  t.deepEqual(entry && (await readTensorData(entry)), numbers);
});

test("a head of another shape than its embedding is refused by its name (9.3)", async (t) => {
  const wide = { ...tensor(head, new Float32Array(36)), shape: [9, 4] };
  const folder = await makeModel(t, tensor(embedding), wide);
  const error = await t.throwsAsync(loadModelFolder(folder), { instanceOf: UserError });
  t.regex(error.message, /"lm_head.weight": found \[9, 4\], expected \[8, 4\]/);
});
