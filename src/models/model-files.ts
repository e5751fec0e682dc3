import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isNotFound } from "../core/errors.js";
import { readGgufCompanions } from "./gguf/gguf-model.js";
import { isGgufPath } from "./gguf/open-gguf.js";

// A model's path is a Hugging Face folder, or a GGUF file, whose metadata stand for the folder's small files.

/** The path of one of a model's files, as ModelFolder.files names them. */
export const modelFile = (model: string, name: string): string =>
  join(isGgufPath(model) ? dirname(model) : model, name);

/** Whether a model is at a path, by what is there. */
export const isModelPath = (path: string): boolean =>
  isGgufPath(path) ? existsSync(path) : existsSync(join(path, "config.json"));

/**
 * Reads the files that go with weights, such as tokenizer.json and generation_config.json, by their names; undefined for one that
 * the model does not have.
 *
 * @throws {UserError} as readGgufFolder; the system's error where a file is there and cannot be read
 */
export const openCompanions = async (
  model: string,
): Promise<(name: string) => Promise<Buffer | undefined>> => {
  if (isGgufPath(model) && existsSync(model)) {
    const texts = await readGgufCompanions(model);
    return (name) => {
      const text = texts.get(name);
      return Promise.resolve(text === undefined ? undefined : Buffer.from(text));
    };
  }
  return (name) =>
    readFile(join(model, name)).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
};
