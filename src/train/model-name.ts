import { UserError } from "../core/errors.js";

/** The model that was named. @throws {UserError} if nobody has named one */
export const requireModelName = (modelName: string | undefined): string => {
  if (modelName !== undefined) return modelName;
  throw new UserError(
    "Cannot load a model: found no --model, expected a folder or a name on the Hub",
    "Give a Hugging Face model folder with config.json, tokenizer.json and model.safetensors, --model=FOLDER, or a model on the Hub, --model=org/name",
  );
};
