import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";

const isTokenId = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/**
 * Token ids that a config file gives under `name`: none, one number or a list of them.
 *
 * @param fallback for a field that is absent; null in the file means none
 */
export const readTokenIds = (
  config: JsonObject,
  name: string,
  faults: string[],
  fallback: readonly number[] = [],
): readonly number[] => {
  const value = config[name];
  if (value === undefined) return fallback;
  if (value === null) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  // Some files say -1 for "none".
  if (ids.every((id) => id === -1)) return [];
  if (ids.every(isTokenId)) return ids;
  faults.push(`"${name}": found ${quoteJson(value)}, expected a token id or a list of them`);
  return fallback;
};
