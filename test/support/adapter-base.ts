import { fileURLToPath } from "node:url";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { adapterBaseOf } from "../../src/peft/build-adapter.js";
import type { AdapterBase } from "../../src/peft/formats/format.js";

/** The tiny base model and the adapters that scripts/reference/peft_adapters.py made with the peft package. */
export const peftFixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/peft/${name}`, import.meta.url));

/** The folder of the base model that one of the adapters was made on. */
export const baseOfFixture = (name: string): string => {
  if (name.startsWith("conv-")) return "base-conv";
  return name.includes("-tied-") ? "base-tied" : "base";
};

/** What the adapters of a model folder are checked against. */
export const loadAdapterBase = async (folder = peftFixture("base")): Promise<AdapterBase> => {
  const { model } = await loadModelFolder(folder);
  return adapterBaseOf(model);
};
