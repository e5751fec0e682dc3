import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import type { AdapterDescription, LowRankAdapter } from "../peft/formats/format.js";
import { qloraAdapters } from "../peft/qlora.js";

/** The flags that somebody wrote, by their names, with their effective values; no default is among them. */
export type GivenFlags = Readonly<Record<string, unknown>>;

const linear = ["hira", "lora", "rslora", "dora", "mora", "hilora", "sparse-lora"];
const scaled = ["lora", "rslora", "dora", "hilora", "sparse-lora"];
const virtual = ["prefix", "p-tuning", "prompt-tuning"];

/** The flags that decide what a trained adapter computes, and the methods of which they do. */
const decisive: Readonly<Record<string, readonly string[]>> = {
  r_ab: linear,
  target_modules: linear,
  layers: linear,
  rank_pattern: linear,
  modules_to_save: linear,
  rand_R: ["hira"],
  lora_alpha: scaled,
  r_lora: ["hilora"],
  mora_type: ["mora"],
  virtual_tokens: virtual,
};

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

/** The method that a run has trained with, which qlora's name does not tell. */
const methodOfRun = ({ peft_type: peftType, qlora_adapter: adapter }: JsonObject): unknown =>
  peftType === "qlora" ? (adapter ?? "lora") : peftType;

/** The flags given that contradict those of the run that has trained what is loaded, a line a fault. */
export const runFlagFaults = (run: JsonObject, given: GivenFlags): readonly string[] => {
  const method = methodOfRun(run);
  const isQuantized = run.load_bit === 4 || run.load_bit === 8;
  const names = [
    "peft_type",
    ...(run.peft_type === "qlora" ? ["qlora_adapter"] : []),
    ...Object.keys(decisive).filter((name) => decisive[name]?.some((known) => known === method)),
    // Beside floats the base may be held otherwise than in the run; an adapter beside codes has learned these very numbers.
    ...(isQuantized ? storageFlags : []),
  ];
  // Null stands for a flag that was not given: a default that the run's other flags tell.
  return names.flatMap((name) => {
    const [now, then] = [given[name], run[name]];
    const isKnown = name in given && then !== undefined && then !== null;
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
  const { method } = adapter;
  const isQlora = given.peft_type === "qlora" && qloraAdapters.some((known) => known === method);
  check("peft_type", method, given.peft_type === method || isQlora);
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
  if (method === "hira") check("rand_R", adapter.randomR);
  if (scaled.includes(method))
    among(
      "lora_alpha",
      modules.map(({ alpha }) => alpha),
    );
  if (method === "hilora")
    among(
      "r_lora",
      modules.map(({ additiveRank }) => additiveRank),
    );
  if (method === "mora") check("mora_type", adapter.moraType);
  return faults;
};
