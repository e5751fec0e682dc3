import type { JsonObject } from "../core/json-file.js";
import { quoteJson } from "../core/json-file.js";
import type { AdapterDescription, LowRankAdapter } from "../peft/formats/format.js";
import { defaultsOf, type PeftMethod } from "../peft/method.js";
import type { OptionGroup } from "../peft/option-group.js";
import { isQloraType, qloraAdapters } from "../peft/qlora.js";
import { chosenMethod, optionGroups, peftMethods } from "../peft/registry.js";

/** The flags that somebody wrote, by their names, with their effective values; no default is among them. */
export type GivenFlags = Readonly<Record<string, unknown>>;

/** The groups of options that decide what a trained adapter computes. */
const trainedGroups = optionGroups.filter(({ phase }) => phase === "trained");

const flagNames = (groups: readonly OptionGroup[]): readonly string[] =>
  groups.flatMap(({ flags }) => Object.keys(flags));

/** The flags that choose layers. */
const layerFlags = ["target_modules", "layers", "rank_pattern", "modules_to_save"];

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
const methodOfRun = (run: JsonObject): PeftMethod | undefined =>
  chosenMethod(run.peft_type, run.qlora_adapter);

/** The flags of `typed` that set what a loaded model's method, or a plain model, does not have. */
export const flagsWithoutEffect = (
  method: PeftMethod | undefined,
  typed: Iterable<string>,
): readonly string[] => {
  const known = new Set(flagsOf(method));
  const ofMethods = new Set([...flagNames(trainedGroups), ...layerFlags]);
  return [...typed].filter((name) => ofMethods.has(name) && !known.has(name));
};

const flagsOf = (method: PeftMethod | undefined): readonly string[] => {
  if (!method) return [];
  const ofOptions = flagNames(method.groups.filter((group) => trainedGroups.includes(group)));
  return [...ofOptions, ...(method.kind === "linear" ? layerFlags : [])];
};

/** The flags given that contradict those of the run that has trained what is loaded, a line a fault. */
export const runFlagFaults = (run: JsonObject, given: GivenFlags): readonly string[] => {
  const method = methodOfRun(run);
  const isQuantized = run.load_bit === 4 || run.load_bit === 8;
  const names = [
    "peft_type",
    "use_input",
    ...(isQloraType(run.peft_type) ? ["qlora_adapter"] : []),
    ...flagsOf(method),
    // Beside floats the base may be held otherwise than in the run; an adapter beside codes has learned these very numbers.
    ...(isQuantized ? storageFlags : []),
  ];
  // What null, a flag that was not given, has meant in the run.
  const others = trainedGroups.flatMap(({ nullMeans = {} }) => Object.entries(nullMeans));
  const meant: JsonObject = {
    ...Object.fromEntries(others.map(([name, other]) => [name, run[other]])),
    quant_type: "nf4",
    double_quant: true,
  };
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
  const method: PeftMethod = peftMethods[name];
  const isQlora = isQloraType(given.peft_type) && qloraAdapters.some((known) => known === name);
  check("peft_type", name, given.peft_type === name || isQlora);
  const owners = "modules" in adapter ? [...adapter.modules.values()] : [{}];
  const groups = method.groups.filter((group) => trainedGroups.includes(group));
  for (const group of groups) {
    const found = owners.map((own): Readonly<Record<string, unknown>> => {
      const options = { ...defaultsOf(method), ...adapter.options, ...own };
      return group.valuesOf?.(options) ?? {};
    });
    for (const flag of Object.keys(group.flags)) {
      const values = found.map((each) => each[flag]);
      if (flag in given && !values.includes(given[flag]))
        faults.push(
          `--${flag}: found ${quoteJson(given[flag])}, expected ${[...new Set(values)].join(" or ")}`,
        );
    }
  }
  if ("modules" in adapter)
    check("target_modules", lastParts(adapter).join(), namesTargets(given.target_modules, adapter));
  return faults;
};
