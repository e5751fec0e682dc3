import type { JsonObject } from "../core/json-file.js";
import { UserError } from "../core/errors.js";
import { encodeOwnPrompts, ownDataset, type OwnDataset } from "../datasets/own-answers.js";
import { readRecords } from "../datasets/read-records.js";
import { parseOwnRows } from "../datasets/own-rows.js";
import { isDatasetFile } from "../datasets/registry.js";
import { tokenCacheFolder } from "../tokenizer/token-cache.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { unknownTokensOfRows, vocabularyOf } from "../train/known-tokens.js";
import type { BaseModel } from "../train/load-base.js";
import { openOwnCoder } from "../train/own-texts.js";
import type { DataSettings } from "../train/loaded-data.js";
import type { Questions } from "./questions.js";

/** How the rows of a file are asked. */
export interface OwnQuestionSettings extends Pick<
  DataSettings,
  "promptField" | "targetField" | "template" | "maxLength"
> {
  readonly maxNewTokens: number | undefined;
  readonly limit: number | undefined;
}

/** The settings with what the run that was trained on a file has recorded, where nobody says otherwise. */
export const asTrained = <Settings extends OwnQuestionSettings>(
  settings: Settings,
  runFlags: JsonObject | undefined,
): Settings => {
  const { dataset } = runFlags ?? {};
  if (!runFlags || typeof dataset !== "string" || !isDatasetFile(dataset)) return settings;
  const text = (name: string): string | undefined => {
    const value = runFlags[name];
    return typeof value === "string" ? value : undefined;
  };
  const length = runFlags["max_length"];
  return {
    ...settings,
    promptField: settings.promptField ?? text("prompt_field"),
    targetField: settings.targetField ?? text("target_field"),
    template: settings.template ?? text("template"),
    maxLength: settings.maxLength ?? (typeof length === "number" ? length : undefined),
  };
};

/**
 * The rows of a person's own file, or its first `limit`, as prompts.
 *
 * @throws {UserError} if the file is missing or broken, or has rows that cannot be answered
 */
export const loadOwnQuestions = async (
  { path, member }: OwnDataset,
  base: BaseModel,
  tokenizer: Tokenizer,
  settings: OwnQuestionSettings,
): Promise<Questions> => {
  const whole = await readRecords(path);
  const file = { ...whole, records: whole.records.slice(0, settings.limit) };
  if (file.records[0]?.value.input_ids !== undefined)
    throw new UserError(
      `Cannot answer the rows of ${path}: found token ids, expected prompts with their targets`,
      "hira forward computes the losses of such rows",
    );
  const { form, rows: own } = parseOwnRows(file, settings);
  const positions = base.folder.model.maxPositionEmbeddings;
  const { template, maxLength } = await openOwnCoder(form, settings, { tokenizer, positions });
  const room = positions - (settings.maxNewTokens ?? member.maxNewTokens);
  if (room < 1)
    throw new UserError(
      `Cannot answer the rows of ${path}: found a model of ${String(positions)} positions, expected more than the ${String(positions - room)} new tokens`,
      "Ask for fewer with --max_new_tokens",
    );
  const { rows, prompts, longest } = await encodeOwnPrompts(file, own, {
    ...{ tokenizer, template, most: Math.min(maxLength, room) },
    encoding: { cacheFolder: tokenCacheFolder() },
  });
  return {
    dataset: ownDataset(path, longest),
    ...{ path, rows, prompts },
    remarks: [
      `${path}: ${String(rows.length)} ${rows.length === 1 ? "row" : "rows"} of ${form.name}, prompts by ${template.name}`,
    ],
    warnings: [],
    unknown: unknownTokensOfRows(prompts, path, vocabularyOf(base)),
  };
};
