import { userErrorOfFaults } from "../core/errors.js";
import type { JsonObject } from "../core/json-file.js";
import type { Model } from "./model.js";

/** What a model's one file gives. */
export interface ModelFamily<Config> {
  /** The config, with transformers' defaults filled in; what is wrong with the file is added to `faults`. */
  readonly readConfig: (raw: JsonObject, faults: string[]) => Config;
  /** The model of a config without faults. */
  readonly model: (config: Config) => Model;
}

/**
 * Opens the model that a config.json describes.
 *
 * @param where names the file in errors
 * @throws {UserError} one that lists every field that is missing, has a wrong type or is not supported
 */
export interface OpenModel {
  (raw: JsonObject, where: string): Model;
  /** What the file says, with transformers' defaults filled in: to compare files, not to look into. @throws {UserError} likewise */
  readonly readConfig: (raw: JsonObject, where: string) => object;
}

/** Closes over the family's config, so that no room above can see it. */
export const defineFamily = <Config extends object>({
  readConfig,
  model,
}: ModelFamily<Config>): OpenModel => {
  const read = (raw: JsonObject, where: string): Config => {
    const faults: string[] = [];
    const config = readConfig(raw, faults);
    if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${where}`, faults);
    return config;
  };
  return Object.assign((raw: JsonObject, where: string): Model => model(read(raw, where)), {
    readConfig: read,
  });
};
