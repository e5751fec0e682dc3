import { didYouMean } from "../core/errors.js";
import { quoteJson, type JsonObject } from "../core/json-file.js";
import { describeJson, isJsonObject } from "../core/json.js";

/** Which numbers a key takes. */
export interface NumberRange {
  readonly least: number;
  /** Default: no bound. */
  readonly most?: number;
  /** DeepSpeed's default. */
  readonly absent: number;
  /** Default true. */
  readonly whole?: boolean;
}

/** Collects what is wrong with a --ds_config and what of it has no effect, and the values that replace "auto". */
export class Reading {
  readonly faults: string[] = [];
  readonly hints = new Set<string>();
  /** Keys with nothing to do here, which one line names. */
  readonly idle: string[] = [];
  /** What else is to be said of single keys, a line each. */
  readonly lines: string[] = [];

  /** A value that DeepSpeed would follow and this program cannot. */
  refuse(path: string, value: unknown, expected: string, reason: string): void {
    this.faults.push(`${path}: found ${quoteJson(value)}, expected ${expected}: ${reason}`);
  }

  /** That a key has nothing to do here; one that is switched off asks for nothing. */
  noteIdle(path: string, value: unknown): void {
    const isOff =
      value === undefined ||
      value === null ||
      value === false ||
      (isJsonObject(value) && value["enabled"] === false);
    if (!isOff) this.idle.push(path);
  }

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
    this.hintAtAuto(value);
    return undefined;
  }

  /** Says where "auto" may stand, to somebody who wrote it elsewhere. */
  hintAtAuto(value: unknown): void {
    if (value === "auto")
      this.hints.add(
        '"auto" may stand for batch sizes, gradient_clipping, lr, betas, eps, weight_decay, the scheduler\'s numbers, fp16.enabled, bf16.enabled, reduce_bucket_size, stage3_prefetch_bucket_size and stage3_param_persistence_threshold',
      );
  }

  /** A number of the file from `least` on, `absent` where there is none. */
  number(
    block: JsonObject,
    key: string,
    { path, least, most = Infinity, absent, whole = true }: NumberRange & { readonly path: string },
  ): number {
    const value = block[key] ?? absent;
    const fits = typeof value === "number" && value >= least && Number.isFinite(value);
    if (fits && value <= most && (!whole || Number.isSafeInteger(value))) return value;
    const range =
      most === Infinity
        ? `of at least ${String(least)}`
        : `from ${String(least)} to ${String(most)}`;
    this.faults.push(
      `${path}.${key}: found ${quoteJson(value)}, expected a ${whole ? "whole " : ""}number ${range}`,
    );
    this.hintAtAuto(value);
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
