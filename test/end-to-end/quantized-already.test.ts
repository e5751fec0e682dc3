import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { peftFixture } from "../support/adapter-base.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const files = async (folder: string): Promise<readonly string[]> => {
  const input = join(folder, "in.jsonl");
  await writeFile(input, JSON.stringify({ input_ids: [1, 5], labels: [1, 5] }));
  return ["forward", `--input=${input}`, `--out=${folder}/out.safetensors`];
};

for (const method of ["gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors"])
  test(`weights that are quantized already are told as such: ${method} (9.28)`, async (t) => {
    const folder = await makeTempFolder(t);
    const model = join(folder, "model");
    await cp(peftFixture("base"), model, { recursive: true });
    const path = join(model, "config.json");
    const config = JSON.parse(await readFile(path, "utf8")) as object;
    await writeFile(
      path,
      JSON.stringify({ ...config, quantization_config: { quant_method: method } }),
    );
    const { code, err } = await runHira(...(await files(folder)), `--model=${model}`);
    t.is(code, 2);
    t.true(err.includes(`quantized already (${method})`), err);
  });

/** Writes a safetensors file whose tensors have these names and dtypes and 8 bytes each. */
const writeTensors = async (
  path: string,
  tensors: Readonly<Record<string, readonly [dtype: string, shape: readonly number[]]>>,
): Promise<void> => {
  const entries = Object.entries(tensors).map(([name, [dtype, shape]], i) => [
    name,
    { dtype, shape, data_offsets: [8 * i, 8 * i + 8] },
  ]);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(path, Buffer.concat([length, header, Buffer.alloc(8 * entries.length)]));
};

const layer = "model.layers.0.self_attn.q_proj";
for (const [method, name, dtype, shape] of [
  ["GPTQ or AWQ", `${layer}.qweight`, "I32", [2]],
  ["GPTQ or AWQ", `${layer}.qzeros`, "I32", [2]],
  ["bitsandbytes", `${layer}.weight.absmax`, "F32", [2]],
  ["bitsandbytes", `${layer}.weight.quant_state.bitsandbytes__nf4`, "U8", [8]],
  ["bitsandbytes", `${layer}.SCB`, "F32", [2]],
  ["compressed-tensors", `${layer}.weight_packed`, "I32", [2]],
  ["FP8", `${layer}.weight_scale_inv`, "F32", [2]],
  ["F8_E4M3", `${layer}.weight`, "F8_E4M3", [8]],
  ["F8_E5M2", `${layer}.weight`, "F8_E5M2", [8]],
] as const)
  test(`weights that are quantized already are told as such by ${name} in ${dtype}, whatever config.json says (9.28)`, async (t) => {
    const folder = await makeTempFolder(t);
    const model = join(folder, "model");
    await cp(peftFixture("base"), model, { recursive: true });
    await writeTensors(join(model, "model.safetensors"), { [name]: [dtype, shape] });
    const { code, err } = await runHira(...(await files(folder)), `--model=${model}`);
    t.is(code, 2);
    t.true(err.includes(`quantized already (${method})`), err);
    t.notRegex(err, /damaged/);
  });
