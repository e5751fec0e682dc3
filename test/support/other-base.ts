import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { readTensorAsFloat32 } from "../../src/models/weights/safetensors.js";
import { writeModelFolder } from "../../src/models/write-model-folder.js";
import { peftFixture } from "./adapter-base.js";

/** Writes a model of the tiny base's shapes with other weights; returns its folder. */
export const writeOtherBase = async (path: string): Promise<string> => {
  const { rawConfig, weights } = await loadModelFolder(peftFixture("base"));
  await mkdir(path, { recursive: true });
  await writeModelFolder({
    path,
    rawConfig,
    tensors: [...weights.values()].map(({ name, shape }) => ({
      name,
      dtype: "float32" as const,
      shape,
      data: async () => {
        const entry = weights.get(name);
        const values = entry ? await readTensorAsFloat32(entry) : new Float32Array();
        return name === "model.norm.weight" ? values : values.map((x, i) => x + 0.1 * Math.sin(i));
      },
    })),
    copyFrom: peftFixture("base"),
  });
  return path;
};

/** Copies an adapter of the peft fixtures, with another name of its base; returns its folder. */
export const copyAdapter = async (
  path: string,
  { fixture = "hira", base }: { readonly fixture?: string; readonly base: string },
): Promise<string> => {
  await cp(peftFixture(fixture), path, { recursive: true });
  const config = join(path, "adapter_config.json");
  const json = JSON.parse(await readFile(config, "utf8")) as object;
  await writeFile(config, JSON.stringify({ ...json, base_model_name_or_path: base }));
  return path;
};
