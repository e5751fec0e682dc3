import { readFile } from "node:fs/promises";
import { messageOf, UserError } from "./errors.js";
import { isJsonObject, parseJson } from "./json.js";

/** A JSON object whose fields are not yet checked. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A value as an error message shows it: JSON, cut after 60 characters. */
export const quoteJson = (value: unknown): string => {
  const shown = (part: unknown): unknown =>
    typeof part === "number" && !Number.isFinite(part) ? String(part) : part;
  // JSON has no infinities: stringify would say null.
  const text =
    value === undefined
      ? "nothing"
      : typeof value === "number"
        ? String(value)
        : JSON.stringify(value, (_, part: unknown) => shown(part));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

/**
 * Reads a file that holds one JSON object.
 *
 * @throws {UserError} if the file is missing, is not JSON, or holds something else than an object
 */
export const readJsonObject = async (path: string): Promise<JsonObject> => {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const value = parseJson(text, path);
  if (!isJsonObject(value))
    throw new UserError(`Cannot read ${path}: found ${quoteJson(value)}, expected a JSON object`);
  return value;
};
