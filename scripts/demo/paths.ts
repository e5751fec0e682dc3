import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** The committed demo: a model folder that is also a data root with the folder llm_adapt. */
export const demoFolder = join(repository, "data_file", "demo");

/** The compiled program's entry. */
export const hiraProgram = join(repository, "bin", "hira.js");

/** The files of the model folder. */
export const modelFiles = [
  "config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
] as const;
