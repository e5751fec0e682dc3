import { didYouMean } from "../core/errors.js";
import { quoteJson, type JsonObject } from "../core/json-file.js";
import { describeJson, isJsonObject } from "../core/json.js";

/** Which numbers a key takes. */
export interface NumberRange {
  readonly least: number;
  /** DeepSpeed's default. */
  readonly absent: number;
  /** Default true. */
  readonly whole?: boolean;
}

/** Collects what is wrong with a --ds_config and what of it comes later, and the values that replace "auto". */
export class Reading {
  readonly faults: string[] = [];
  readonly later: string[] = [];
  readonly hints = new Set<string>();

  /** An optional block of the file. Its keys must be among `known`; undefined if it is not there. */
  block(
    parent: JsonObject,
    key: string,
    { known, path }: { readonly known: readonly string[]; readonly path: string },
  ): Record<string, unknown> | undefined {
    const value = parent[key];
    if (value === undefined) return undefined;
    if (!isJsonObject(value)) {
      this.faults.push(`${path}: found ${describeJson(value)}, expected an object`);
      return undefined;
    }
    this.checkKeys(value, known, `${path}.`);
    return value;
  }

  checkKeys(value: JsonObject, known: readonly string[], prefix: string): void {
    for (const key of Object.keys(value)) {
      if (known.includes(key)) continue;
      this.faults.push(`${prefix}${key}: found an unknown key, expected one of DeepSpeed's`);
      const hint = didYouMean(key, known);
      if (hint !== undefined) this.hints.add(`${prefix}${key}: ${hint}`);
    }
  }

  /**
   * A number of the file that must be the run's: "auto" takes the run's, a missing one is `absent`.
   *
   * `flag` names the run's value in the error.
   */
  match(
    block: Record<string, unknown>,
    key: string,
    {
      path,
      expected,
      flag,
      absent,
    }: {
      readonly path: string;
      readonly expected: number | readonly number[];
      readonly flag: string;
      /** DeepSpeed's own default, where it would be used in the run's place. */
      readonly absent?: number | readonly number[];
    },
  ): void {
    const found = block[key];
    if (found === "auto") {
      block[key] = expected;
      return;
    }
    if (found === undefined && absent === undefined) return;
    const same = (value: unknown): boolean => quoteJson(value) === quoteJson(expected);
    if (found === undefined ? same(absent) : same(found)) return;
    const shown =
      found === undefined
        ? `nothing, for which DeepSpeed takes ${quoteJson(absent)}`
        : quoteJson(found);
    this.faults.push(
      `${path}: found ${shown}, expected ${quoteJson(expected)} (${flag}) or "auto"`,
    );
    this.hints.add('With "auto" in the file, the flags decide');
  }

  /** A true or false of the file; undefined if it is missing or wrong. */
  boolean(block: JsonObject, key: string, path: string): boolean | undefined {
    const value = block[key];
    if (value === undefined || typeof value === "boolean") return value;
    this.faults.push(`${path}: found ${quoteJson(value)}, expected true or false`);
    return undefined;
  }

  /** A number of the file from `least` on, `absent` where there is none. */
  number(
    block: JsonObject,
    key: string,
    { path, least, absent, whole = true }: NumberRange & { readonly path: string },
  ): number {
    const value = block[key] ?? absent;
    const fits = typeof value === "number" && value >= least && Number.isFinite(value);
    if (fits && (!whole || Number.isSafeInteger(value))) return value;
    this.faults.push(
      `${path}.${key}: found ${quoteJson(value)}, expected a ${whole ? "whole " : ""}number of at least ${String(least)}`,
    );
    return absent;
  }

  /** One of the words that DeepSpeed knows, in its spelling, whatever the case. */
  word(block: JsonObject, key: string, path: string, known: readonly string[]): string | undefined {
    const value = block[key];
    const found = known.find(
      (word) => typeof value === "string" && word.toLowerCase() === value.toLowerCase(),
    );
    if (found === undefined)
      this.faults.push(`${path}: found ${quoteJson(value)}, expected one of ${known.join(", ")}`);
    return found;
  }
}
