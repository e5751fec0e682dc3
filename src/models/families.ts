import type { OpenModel } from "./family.js";
import { bert } from "./families/bert.js";
import { distilbert } from "./families/distilbert.js";
import { gemma } from "./families/gemma.js";
import { gemma2 } from "./families/gemma2.js";
import { gpt2 } from "./families/gpt2.js";
import { llama } from "./families/llama.js";
import { mistral } from "./families/mistral.js";
import { opt } from "./families/opt.js";
import { phi3 } from "./families/phi3.js";
import { qwen2 } from "./families/qwen2.js";
import { qwen3 } from "./families/qwen3.js";

/** The models that can be loaded, by the model_type of config.json: a file and a line each. */
export const families = {
  bert,
  distilbert,
  gemma,
  gemma2,
  gpt2,
  llama,
  mistral,
  opt,
  phi3,
  qwen2,
  qwen3,
} as const satisfies Readonly<Record<string, OpenModel>>;
