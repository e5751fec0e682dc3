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
export type OpenModel = (raw: JsonObject, where: string) => Model;

/** Closes over the family's config, so that no room above can see it. */
export const defineFamily =
  <Config>({ readConfig, model }: ModelFamily<Config>): OpenModel =>
  (raw, where) => {
    const faults: string[] = [];
    const config = readConfig(raw, faults);
    if (faults.length > 0) throw userErrorOfFaults(`Cannot load ${where}`, faults);
    return model(config);
  };
