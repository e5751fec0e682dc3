import type { OpenModel } from "./family.js";
import { llama } from "./families/llama.js";

/** The models that can be loaded, by the model_type of config.json: a file and a line each. */
export const families = { llama } as const satisfies Readonly<Record<string, OpenModel>>;
