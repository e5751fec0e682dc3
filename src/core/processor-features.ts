import { readFile } from "node:fs/promises";

/** Instructions that decide how fast a processor multiplies matrices, and in which number types, by the names that Linux has for them. */
export const matrixFeatures = [
  "avx2",
  "avx512f",
  "avx512_vnni",
  "avx512_bf16",
  "avx512_fp16",
  "avx_vnni",
  "amx_tile",
  "amx_bf16",
  "amx_int8",
  "amx_fp16",
  // ARM: Linux calls NEON asimd there, and its half precision asimdhp.
  "neon",
  "asimd",
  "asimdhp",
  "asimddp",
  "i8mm",
  "bf16",
  "sve",
  "sve2",
] as const;

/** A name of {@link matrixFeatures}. */
export type MatrixFeature = (typeof matrixFeatures)[number];

/** What /proc/cpuinfo lists of the first processor: `flags` on x86, `Features` on ARM. */
const listed = (text: string): ReadonlySet<string> => {
  const [, words = ""] = /^(?:flags|Features)\s*:(.*)$/m.exec(text) ?? [];
  return new Set(words.split(/\s+/).filter((word) => word !== ""));
};

/** Those of {@link matrixFeatures} that the text of a /proc/cpuinfo lists, in the table's order. */
export const featuresOf = (cpuinfo: string): readonly MatrixFeature[] => {
  const words = listed(cpuinfo);
  return matrixFeatures.filter((name) => words.has(name));
};

/** The processor's features; undefined where the system does not say them as Linux does. */
export const readProcessorFeatures = async (
  path = "/proc/cpuinfo",
): Promise<readonly MatrixFeature[] | undefined> => {
  const text = await readFile(path, "utf8").catch(() => "");
  return text === "" ? undefined : featuresOf(text);
};
