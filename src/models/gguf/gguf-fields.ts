import { quoteJson } from "../../core/json-file.js";
import type { GgufMetadata } from "./read-gguf.js";
import type { GgufValue } from "./gguf-values.js";

const show = (value: GgufValue): string =>
  typeof value === "bigint"
    ? String(value)
    : Array.isArray(value)
      ? `a list of ${String(value.length)}`
      : quoteJson(value);

/** The shortest decimal number that is this float32: 1e-5 for 9.999999747378752e-6, which is what the file holds of it. */
export const shortestFloat32 = (value: number): number => {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
};

/** Values of the metadata in their types; what is missing or of another type is a line of `faults`. */
export class GgufFields {
  readonly metadata: GgufMetadata;
  readonly faults: string[];

  constructor(metadata: GgufMetadata, faults: string[]) {
    this.metadata = metadata;
    this.faults = faults;
  }

  has(key: string): boolean {
    return this.metadata.has(key);
  }

  fault(key: string, expected: string): void {
    const value = this.metadata.get(key);
    this.faults.push(
      `"${key}": found ${value === undefined ? "nothing" : show(value)}, expected ${expected}`,
    );
  }

  /** A whole number from 1 on. */
  size(key: string, fallback?: number): number {
    const value = this.metadata.get(key) ?? fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
    this.fault(key, "a whole number above 0");
    return NaN;
  }

  /** A positive number, as short as the float32 that holds it allows. */
  positive(key: string, fallback?: number): number {
    const value = this.metadata.get(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0)
      return shortestFloat32(value);
    this.fault(key, "a number above 0");
    return NaN;
  }

  text(key: string): string | undefined {
    const value = this.metadata.get(key);
    if (value === undefined || typeof value === "string") return value;
    this.fault(key, "text");
    return undefined;
  }

  flag(key: string): boolean | undefined {
    const value = this.metadata.get(key);
    if (value === undefined || typeof value === "boolean") return value;
    this.fault(key, "true or false");
    return undefined;
  }

  /** The id of a token below `count`. */
  tokenId(key: string, count: number): number | undefined {
    const value = this.metadata.get(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < count)
      return value;
    // Some writers say "none" so.
    if (value === -1 || value === 2 ** 32 - 1) return undefined;
    this.fault(key, `the id of one of the ${String(count)} tokens`);
    return undefined;
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.metadata.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((text) => typeof text === "string")) return value;
    this.fault(key, "a list of texts");
    return undefined;
  }

  numbers(key: string): readonly number[] | undefined {
    const value = this.metadata.get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((number) => typeof number === "number")) return value;
    this.fault(key, "a list of numbers");
    return undefined;
  }
}
