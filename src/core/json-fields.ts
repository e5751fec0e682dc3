import type { JsonObject } from "./json-file.js";
import { quoteJson } from "./json-file.js";

/** A check of a JSON value, with the words that an error uses for it. */
export interface Kind<T> {
  readonly name: string;
  readonly is: (value: unknown) => value is T;
}

const numberKind = (name: string, holds: (value: number) => boolean): Kind<number> => ({
  name,
  is: (value): value is number =>
    typeof value === "number" && Number.isFinite(value) && holds(value),
});

/** A whole number above 0, exact in a double. */
export const size = numberKind("a whole number above 0", (n) => Number.isSafeInteger(n) && n > 0);
/** A number above 0. */
export const positive = numberKind("a number above 0", (n) => n > 0);
/** A rate of dropout. */
export const share = numberKind("a number from 0 to below 1", (n) => n >= 0 && n < 1);
/** true or false; no other value stands for one. */
export const flag: Kind<boolean> = {
  name: "true or false",
  is: (value) => typeof value === "boolean",
};
/** A string, the empty one included. */
export const text: Kind<string> = { name: "text", is: (value) => typeof value === "string" };

/**
 * Reads the fields of one JSON object and gathers what is wrong with them, so that one error can tell it all.
 *
 * A field that is null counts as absent, as in Hugging Face's config files.
 */
export class JsonFields {
  /**
   * @param prefix stands before each field's name in a fault, as in `rope_scaling.`
   * @param faults gets `"<prefix><name>": found <this>, expected <that>` for each fault
   */
  constructor(
    private readonly object: JsonObject,
    private readonly prefix: string,
    private readonly faults: string[],
  ) {}

  value(name: string): unknown {
    return this.object[name] ?? undefined;
  }

  fault(name: string, expected: string): void {
    this.faults.push(
      `"${this.prefix}${name}": found ${quoteJson(this.object[name])}, expected ${expected}`,
    );
  }

  /** The field's value; `fallback` where it is absent or wrong. */
  optional<T>(name: string, kind: Kind<T>, fallback: T): T {
    const value = this.value(name);
    if (value === undefined) return fallback;
    if (kind.is(value)) return value;
    this.fault(name, kind.name);
    return fallback;
  }

  /** The field's number; NaN where it is absent or wrong, which fails no later comparison. */
  number(name: string, kind: Kind<number>): number {
    const value = this.value(name);
    if (kind.is(value)) return value;
    this.fault(name, kind.name);
    return NaN;
  }
}
