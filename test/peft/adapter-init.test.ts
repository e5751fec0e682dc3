import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import type { DType, TypedArray } from "../../src/core/dtype.js";
import { UserError } from "../../src/core/errors.js";
import { writeSafetensors } from "../../src/models/weights/safetensors.js";
import { readAdapterInit } from "../../src/peft/adapter-init.js";
import { decoderModel } from "../../src/models/blocks/decoder.js";
import { tinyConfig } from "../support/random-llama.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const path = "model.layers.0.self_attn.q_proj";
const parameters = new Map<string, readonly number[]>([
  [`${path}.A`, [1, 2]],
  [`${path}.B`, [3, 1]],
]);

/** Where no embedding is in the file, nothing is held against the base. */
const noBase = { weights: new Map(), model: decoderModel(tinyConfig) };

const write = async (
  t: ExecutionContext,
  tensors: Readonly<Record<string, readonly number[] | readonly [DType, TypedArray, number[]]>>,
): Promise<string> => {
  const file = join(await makeTempFolder(t), "init.safetensors");
  await writeSafetensors(
    file,
    Object.entries(tensors).map(([name, given]) => {
      const [dtype, data, shape] = given;
      if (typeof dtype === "string")
        return { name, dtype, shape: shape as number[], data: data as TypedArray };
      const values = Float32Array.from(given as readonly number[]);
      const isB = /B|magnitude/.test(name);
      return {
        name,
        dtype: "float32",
        shape: isB ? [values.length, 1] : [1, values.length],
        data: values,
      };
    }),
  );
  return file;
};

const names = {
  ours: [`${path}.A`, `${path}.B`],
  "the stored reference values'": [`${path}.A`, `${path}.B_start`],
  "a method's": [`hira/${path}.A`, `hira/${path}.B`],
  "peft's HiRA": [`base_model.model.${path}.hira_A`, `base_model.model.${path}.hira_B`],
  "peft's LoRA": [
    `base_model.model.${path}.lora_A.weight`,
    `base_model.model.${path}.lora_B.weight`,
  ],
  "the authors'": [`base_model.model.${path}.lora_A`, `base_model.model.${path}.lora_B`],
} as const;

for (const [whose, [a, b]] of Object.entries(names)) {
  test(`readAdapterInit takes ${whose} names`, async (t) => {
    const file = await write(t, { [a]: [1, 2], [b]: [3, 4, 5] });
    const { values, unused } = await readAdapterInit(file, parameters, "hira", noBase);
    t.deepEqual(values.get(`${path}.A`), Float32Array.of(1, 2));
    t.deepEqual(values.get(`${path}.B`), Float32Array.of(3, 4, 5));
    t.deepEqual(unused, []);
  });
}

test("readAdapterInit takes virtual tokens by their several names", async (t) => {
  for (const [fileName, name] of [
    ["prompt_embeddings", "table"],
    ["prefix_start", "table"],
    ["prefix/prefix", "table"],
    ["prompt_embeddings", "embedding"],
    ["table", "table"],
  ] as const) {
    const file = await write(t, { [fileName]: [1, 2] });
    const { values } = await readAdapterInit(file, new Map([[name, [1, 2]]]), "prefix", noBase);
    t.deepEqual([...values.keys()], [name]);
  }
});

test("readAdapterInit tells what it did not use", async (t) => {
  const file = await write(t, {
    [`${path}.A`]: [1, 2],
    [`lora/${path}.B`]: [1],
    [`${path}.M_start`]: [1],
  });
  const { values, unused } = await readAdapterInit(file, parameters, "hira", noBase);
  t.deepEqual([...values.keys()], [`${path}.A`]);
  t.deepEqual(unused, [`lora/${path}.B`, `${path}.M_start`]);
});

test("readAdapterInit refuses files that fit in nothing, and lists all faults", async (t) => {
  const none = await t.throwsAsync(
    readAdapterInit(await write(t, { "x.A": [1] }), parameters, "hira", noBase),
    { instanceOf: UserError },
  );
  t.regex(none.message, /found "x.A", expected names such as "model.layers.0.self_attn.q_proj.A"/);
  const file = await write(t, {
    [`${path}.A`]: [1, 2, 3],
    [`${path}.B`]: ["int32", Int32Array.of(1, 2, 3), [3, 1]],
    [`base_model.model.${path}.hira_B`]: [1, 2, 3],
    [`hira/${path}.B`]: [1, 2, 3],
  });
  const { message } = await t.throwsAsync(readAdapterInit(file, parameters, "hira", noBase), {
    instanceOf: UserError,
  });
  t.regex(message, /found 3 faults/);
  t.regex(message, /q_proj.A": found \[1, 3\], expected \[1, 2\]/);
  t.regex(message, /q_proj.B": found int32, expected a float dtype/);
  t.regex(message, /q_proj.B": found a second value for model.layers.0.self_attn.q_proj.B/);
});

testWithShared(
  "readAdapterInit reads the goldens' start values",
  "goldens/init.safetensors",
  async (t, file) => {
    const shapes = new Map<string, readonly number[]>([
      [`${path}.A`, [8, 64]],
      [`${path}.B`, [64, 8]],
    ]);
    const { values, unused } = await readAdapterInit(file, shapes, "hira", noBase);
    t.is(values.size, 2);
    t.true(values.get(`${path}.B`)!.every((value) => value === 0));
    t.true(unused.includes(`${path}.B_probe`));
  },
);
