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
