import { fileURLToPath } from "node:url";
import { llamaLinears } from "../../src/models/llama-config.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import type { AdapterBase } from "../../src/peft/formats/format.js";

/** The tiny base model and the adapters that scripts/reference/peft_adapters.py made with the peft package. */
export const peftFixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/peft/${name}`, import.meta.url));

/** What the adapters of a model folder are checked against. */
export const loadAdapterBase = async (folder = peftFixture("base")): Promise<AdapterBase> => {
  const { config } = await loadModelFolder(folder);
  return {
    ...config,
    modules: [...llamaLinears(config)].map(([path, size]) => ({ path, ...size })),
  };
};
