import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import type { AdapterDescription, LowRankAdapter } from "../peft/formats/format.js";
import type { MethodOptions, PeftMethod } from "../peft/method.js";
import { qloraAdapters } from "../peft/qlora.js";
import { methodOf, peftMethods, peftTypes } from "../peft/registry.js";

/** The flags that somebody wrote, by their names, with their effective values; no default is among them. */
export type GivenFlags = Readonly<Record<string, unknown>>;

/** The flags that set options of a method, those that decide what a trained adapter computes. */
const optionFlags = {
  r_ab: "rank",
  lora_alpha: "alpha",
  use_rslora: "rankStabilized",
  r_lora: "additiveRank",
  mora_type: "moraType",
  rand_R: "randomR",
  virtual_tokens: "virtualTokens",
} as const satisfies Readonly<Record<string, keyof MethodOptions>>;

/** The flags that choose layers. */
const layerFlags = ["target_modules", "layers", "rank_pattern", "modules_to_save"];

const reads = (method: PeftMethod, flag: keyof typeof optionFlags): boolean =>
  method.reads[optionFlags[flag]] !== undefined;

const storageFlags = ["load_bit", "quant_type", "double_quant"];

/** Lists of names are equal in any order; blanks count nowhere. */
const normal = (name: string, value: unknown): string => {
  if (typeof value !== "string") return quoteJson(value);
  const text = value.replaceAll(/\s/g, "");
  const isList = name === "target_modules" || name === "modules_to_save";
  return isList ? [...new Set(text.split(","))].sort().join() : text;
};

const faultOf = (name: string, found: unknown, expected: unknown): string =>
  `--${name}: found ${quoteJson(found)}, expected ${quoteJson(expected)}`;

/** The method that a run has trained with, which qlora's name does not tell; undefined for one that is not known here. */
const methodOfRun = (run: JsonObject): PeftMethod | undefined => {
  const peftType = peftTypes.find((known) => known === run.peft_type);
  const adapter = qloraAdapters.find((known) => known === run.qlora_adapter) ?? "lora";
  return peftType && methodOf(peftType, adapter);
};

/** The flags of `typed` that set what a loaded model's method, or a plain model, does not have. */
export const flagsWithoutEffect = (
  method: PeftMethod | undefined,
  typed: Iterable<string>,
): readonly string[] => {
  const known = new Set(flagsOf(method));
  const ofMethods = new Set([...Object.keys(optionFlags), ...layerFlags]);
  return [...typed].filter((name) => ofMethods.has(name) && !known.has(name));
};

const flagsOf = (method: PeftMethod | undefined): readonly string[] => {
  if (!method) return [];
  const ofOptions = (Object.keys(optionFlags) as (keyof typeof optionFlags)[]).filter((flag) =>
    reads(method, flag),
  );
  return [...ofOptions, ...(method.kind === "linear" ? layerFlags : [])];
};

/** The flags given that contradict those of the run that has trained what is loaded, a line a fault. */
export const runFlagFaults = (run: JsonObject, given: GivenFlags): readonly string[] => {
  const method = methodOfRun(run);
  const isQuantized = run.load_bit === 4 || run.load_bit === 8;
  const names = [
    "peft_type",
    "use_input",
    ...(run.peft_type === "qlora" ? ["qlora_adapter"] : []),
    ...flagsOf(method),
    // Beside floats the base may be held otherwise than in the run; an adapter beside codes has learned these very numbers.
    ...(isQuantized ? storageFlags : []),
  ];
  // What null, a flag that was not given, has meant in the run.
  const meant: JsonObject = { r_lora: run.r_ab, quant_type: "nf4", double_quant: true };
  // Runs of earlier versions, and the original's, have dropped a row's input.
  const unrecorded: JsonObject = { use_input: false };
  return names.flatMap((name) => {
    const recorded = name in run ? run[name] : unrecorded[name];
    const [now, then] = [given[name], recorded === null ? (meant[name] ?? null) : recorded];
    const isKnown = name in given && then !== undefined;
    return isKnown && normal(name, now) !== normal(name, then) ? [faultOf(name, now, then)] : [];
  });
};

const lastParts = ({ modules }: LowRankAdapter): readonly string[] => [
  ...new Set([...modules.keys()].map((path) => path.slice(path.lastIndexOf(".") + 1))),
];

/** Whether the names of --target_modules, taken as ends of paths, are those of the adapted layers. */
const namesTargets = (given: unknown, adapter: LowRankAdapter): boolean => {
  const names = String(given)
    .split(",")
    .map((name) => name.trim());
  const paths = [...adapter.modules.keys()];
  return (
    names.every((name) => paths.some((path) => path.endsWith(name))) &&
    paths.every((path) => names.some((name) => path.endsWith(name)))
  );
};

/** The flags given that contradict what an adapter's own files say, a line a fault. */
export const adapterFlagFaults = (
  adapter: AdapterDescription,
  given: GivenFlags,
): readonly string[] => {
  const faults: string[] = [];
  const check = (name: string, expected: unknown, fits = given[name] === expected): void => {
    if (name in given && !fits) faults.push(faultOf(name, given[name], expected));
  };
  const { method: name } = adapter;
  const method = peftMethods[name];
  const isQlora = given.peft_type === "qlora" && qloraAdapters.some((known) => known === name);
  check("peft_type", name, given.peft_type === name || isQlora);
  if ("virtualTokens" in adapter) {
    check("virtual_tokens", adapter.virtualTokens);
    return faults;
  }
  const modules = [...adapter.modules.values()];
  const among = (name: string, values: readonly unknown[]): void => {
    if (name in given && !values.includes(given[name]))
      faults.push(
        `--${name}: found ${quoteJson(given[name])}, expected ${[...new Set(values)].join(" or ")}`,
      );
  };
  among(
    "r_ab",
    modules.map(({ rank }) => rank),
  );
  check("target_modules", lastParts(adapter).join(), namesTargets(given.target_modules, adapter));
  if (reads(method, "rand_R")) check("rand_R", adapter.randomR);
  if (reads(method, "lora_alpha"))
    among(
      "lora_alpha",
      modules.map(({ alpha }) => alpha),
    );
  if (reads(method, "use_rslora"))
    check("use_rslora", name === "rslora" || (adapter.rankStabilized ?? false));
  if (reads(method, "r_lora"))
    among(
      "r_lora",
      modules.map(({ additiveRank }) => additiveRank),
    );
  if (reads(method, "mora_type")) check("mora_type", adapter.moraType);
  return faults;
};
