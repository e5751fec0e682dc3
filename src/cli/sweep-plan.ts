import { isMap, isScalar, isSeq, type Node } from "yaml";
import { contentHash } from "../core/content-hash.js";
import { didYouMean } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import { readCommandInput, type CommandContext } from "./command.js";
import {
  entriesOf,
  readSetting,
  readSettings,
  readYamlFile,
  type YamlFile,
} from "./config-file.js";
import { defaultOf, type FlagFault, type Flags } from "../core/flag.js";
import { judgeUnread, unreadFault, unreadFlags, unreadWarning, type UnreadFlag } from "./reads.js";
import { trainReads } from "./train-reads.js";
import { trainFlags, type TrainFlagValues } from "./train-flags.js";
import { readTrainOptions } from "./train-options.js";

/** A flag's text as on the command line: true for a switch, null for a flag that is not given. */
type SettingText = string | true | null;
type SettingTexts = Readonly<Record<string, SettingText>>;

/** One run of a sweep. */
export interface PlannedRun {
  /** Its settings that are not common to all runs; a folder's name. */
  readonly name: string;
  /** The flags of `hira train` that the run reads, as on a command line, without --output_folder. */
  readonly args: readonly string[];
  /** Every flag with its effective value. */
  readonly settings: TrainFlagValues;
}

/** What a sweep's file asks for. */
export interface SweepPlan {
  readonly runs: readonly PlannedRun[];
  /** The flags of `hira train --ckpt` for every run, without --ckpt; undefined where no answers are wanted. */
  readonly evaluate: readonly string[] | undefined;
}

/** What a sweep decides for its runs. */
const ownNames = [
  "ckpt",
  "compute_norm",
  "compute_rank",
  "dataset_analysis",
  "output_folder",
  "resume_from_checkpoint",
];

const without = (flags: Flags, names: readonly string[]): Flags =>
  Object.fromEntries(Object.entries(flags).filter(([name]) => !names.includes(name)));

const runFlags = without(trainFlags, ownNames);
const evaluationFlags = without(trainFlags, ["ckpt", "dataset_analysis", "output_folder"]);

const sections = ["base", "matrix", "include", "exclude", "evaluate"] as const;
type Section = (typeof sections)[number];

interface Reader {
  readonly file: YamlFile;
  readonly faults: FlagFault[];
  /** Where each run's settings stand, by flag and text; for what is wrong between flags. */
  readonly places: Map<string, string>;
}

const textKey = (name: string, text: SettingText): string => `${name}=${String(text)}`;

const faultAt = (
  { file, faults }: Pick<Reader, "file" | "faults">,
  line: number,
  fault: Omit<FlagFault, "what">,
  name?: string,
): void => {
  const place = `${file.path}, line ${String(line)}`;
  faults.push({ ...fault, what: name === undefined ? place : `${name} (${place})` });
};

const readMap = (reader: Reader, node: Node, name: string, flags: Flags): SettingTexts => {
  const { file, faults, places } = reader;
  if (!isMap(node)) {
    const found = quoteJson(node.toJSON());
    faultAt(reader, file.lineOf(node), { found, expected: "flags with their values" }, name);
    return {};
  }
  const read = readSettings(file, node, flags);
  faults.push(...read.faults);
  const texts: Record<string, SettingText> = {};
  for (const [flag, place] of Object.entries(read.places)) {
    const text = read.texts[flag] ?? null;
    texts[flag] = text;
    places.set(textKey(flag, text), place);
  }
  return texts;
};

const readMatrix = (
  reader: Reader,
  node: Node,
): readonly (readonly [name: string, texts: readonly SettingText[]])[] => {
  const { file, faults, places } = reader;
  if (!isMap(node)) {
    const found = quoteJson(node.toJSON());
    faultAt(reader, file.lineOf(node), { found, expected: "flags with lists of values" }, "matrix");
    return [];
  }
  const refuse = (line: number, found: string): void => {
    faultAt(reader, line, { found: `the key ${found}`, expected: "a flag's name" });
  };
  return entriesOf(file, node, refuse).flatMap((entry) => {
    const { name, value, line } = entry;
    if (!isSeq(value) || value.items.length === 0) {
      const found = quoteJson(value?.toJSON() ?? null);
      faultAt(reader, line, { found, expected: "a list of values" }, name);
      return [];
    }
    const texts: SettingText[] = [];
    for (const item of value.items) {
      const node = file.resolve(item);
      const place = node ? file.lineOf(node) : line;
      const setting = readSetting(file, { name, value: node, line: place }, runFlags);
      if ("fault" in setting) {
        faults.push(setting.fault);
        // An unknown name is one fault, however many values it has.
        if (!Object.hasOwn(runFlags, name)) break;
        continue;
      }
      const text = setting.text ?? null;
      if (texts.includes(text))
        faultAt(reader, place, { found: `${String(text)} twice`, expected: "it once" }, name);
      texts.push(text);
      places.set(textKey(name, text), `${file.path}, line ${String(place)}`);
    }
    return [[name, texts] as const];
  });
};

const readList = (reader: Reader, node: Node, name: Section): readonly SettingTexts[] => {
  const { file } = reader;
  if (isSeq(node))
    return node.items.flatMap((item) => {
      const entry = file.resolve(item);
      return entry ? [readMap(reader, entry, name, runFlags)] : [];
    });
  const found = quoteJson(node.toJSON());
  faultAt(reader, file.lineOf(node), { found, expected: "a list of flags with values" }, name);
  return [];
};

const agree = (a: SettingTexts, b: SettingTexts, names: readonly string[]): boolean =>
  names.every((name) => a[name] === b[name]);

/**
 * All combinations of the matrix, without those that an entry of `exclude` describes; an entry of `include` adds its other
 * settings to every combination that it agrees with in the matrix's names, or else is a combination of its own.
 */
const combine = (
  matrix: readonly (readonly [name: string, texts: readonly SettingText[]])[],
  include: readonly SettingTexts[],
  exclude: readonly SettingTexts[],
): readonly SettingTexts[] => {
  let combinations: SettingTexts[] = matrix.length === 0 ? [] : [{}];
  for (const [name, texts] of matrix)
    combinations = combinations.flatMap((rest) => texts.map((text) => ({ ...rest, [name]: text })));
  const kept = combinations.filter(
    (combination) => !exclude.some((entry) => agree(combination, entry, Object.keys(entry))),
  );
  const names = new Set(matrix.map(([name]) => name));
  const added: SettingTexts[] = [];
  let result: readonly SettingTexts[] = kept;
  for (const entry of include) {
    const shared = Object.keys(entry).filter((name) => names.has(name));
    const matches = (combination: SettingTexts): boolean => agree(combination, entry, shared);
    if (kept.some(matches))
      result = result.map((combination, i) => {
        const original = kept[i];
        return original && matches(original) ? { ...combination, ...entry } : combination;
      });
    else added.push(entry);
  }
  const all = [...result, ...added];
  return all.length === 0 && matrix.length === 0 && include.length === 0 ? [{}] : all;
};

const maxNameLength = 120;

/** `peft_type=lora,seed=36`, of characters that every file system takes. */
const nameOf = (texts: SettingTexts): string => {
  const parts = Object.entries(texts).map(([name, text]) =>
    text === true
      ? name
      : `${name}=${String(text ?? (runFlags[name]?.kind === "switch" ? false : null))}`,
  );
  const whole = parts.join(",");
  const plain = whole.replace(/[^\w.,=+-]+/g, "_") || "run";
  // Two names that differ in other characters alone stay apart.
  return plain === (whole || "run") && plain.length <= maxNameLength
    ? plain
    : `${plain.slice(0, maxNameLength)}-${contentHash([whole]).slice(0, 8)}`;
};

const given = (texts: SettingTexts): Readonly<Record<string, string | true>> =>
  Object.fromEntries(
    Object.entries(texts).filter((entry): entry is [string, string | true] => entry[1] !== null),
  );

const argsOf = (texts: SettingTexts): readonly string[] =>
  Object.entries(given(texts)).map(([name, text]) =>
    text === true ? `--${name}` : `--${name}=${text}`,
  );

/** Settings that were read as the command line of `hira train`. */
interface CheckedSettings {
  readonly texts: SettingTexts;
  readonly values: TrainFlagValues;
  readonly unread: readonly UnreadFlag[];
}

/** Reads settings as the command line of `hira train`; what is wrong is added to the reader's faults. */
const check = (
  { faults, places }: Reader,
  texts: SettingTexts,
  context: CommandContext,
): CheckedSettings => {
  const own = Object.entries(texts).flatMap(([name, text]) => {
    const place = places.get(textKey(name, text));
    return place === undefined ? [] : [[name, place] as const];
  });
  const input = readCommandInput(
    { name: "sweep", flags: trainFlags, reads: trainReads },
    { texts: given(texts), words: [], earlier: [], places: Object.fromEntries(own), context },
  );
  const values = input.values as TrainFlagValues;
  readTrainOptions(values, input, input.faults);
  faults.push(...input.allFaults());
  return { texts, values, unread: unreadFlags(trainReads, values, Object.keys(given(texts))) };
};

/** What is told of flags that runs set and none of them reads; what runs share need not concern each of them. */
const judgeSettings = (reader: Reader, runs: readonly CheckedSettings[]): readonly string[] => {
  const read = new Set(
    runs.flatMap(({ texts, unread }) =>
      Object.keys(given(texts)).filter((name) => !unread.some((flag) => flag.name === name)),
    ),
  );
  const wrong = new Set(reader.faults.map(({ what }) => what.replace(/ \(.*/, "")));
  const useless = new Map<string, UnreadFlag>();
  const places: Record<string, string> = {};
  for (const { texts, unread } of runs)
    for (const flag of unread) {
      const { name } = flag;
      if (read.has(name) || wrong.has(name) || useless.has(name)) continue;
      useless.set(name, flag);
      const place = reader.places.get(textKey(name, texts[name] ?? null));
      if (place !== undefined) places[name] = place;
    }
  const typed = new Map([...useless.keys()].map((name) => [name, "file"] as const));
  const { refused, told } = judgeUnread([...useless.values()], typed);
  if (refused.length > 0) reader.faults.push(unreadFault(refused, places));
  return told.length > 0 ? [unreadWarning(told, places)] : [];
};

/** Faults that are the same for several runs, once. */
const distinct = (faults: readonly FlagFault[]): readonly FlagFault[] => [
  ...new Map(faults.map((fault) => [JSON.stringify(fault), fault])).values(),
];

const readSections = (reader: Reader): ReadonlyMap<Section, Node> => {
  const { file, faults } = reader;
  const found = new Map<Section, Node>();
  const expected = sections.join(", ");
  if (!isMap(file.root)) {
    const shown = file.root === null || isScalar(file.root) ? "no sections" : "a list";
    faults.push({ what: file.path, found: shown, expected });
    return found;
  }
  const refuse = (line: number, key: string): void => {
    faultAt(reader, line, { found: `the key ${key}`, expected });
  };
  for (const { name, value, line } of entriesOf(file, file.root, refuse)) {
    const section = sections.find((known) => known === name);
    if (section && value) found.set(section, value);
    if (section) continue;
    const hint = didYouMean(name, sections);
    const fault = { found: "an unknown section", expected, ...(hint !== undefined && { hint }) };
    faultAt(reader, line, fault, JSON.stringify(name));
  }
  return found;
};

/**
 * Reads a sweep's file: `base`, `matrix`, `include`, `exclude`, `evaluate`. Every run's settings are parsed as the command
 * line of `hira train` is.
 *
 * @returns the plan, which is of use only if there are no faults
 * @throws {UserError} if the file cannot be read or is no YAML
 */
export const readSweepPlan = async (
  path: string,
  context: CommandContext,
): Promise<{
  readonly plan: SweepPlan;
  readonly faults: readonly FlagFault[];
  /** Flags that have an effect on no run. */
  readonly warnings: readonly string[];
}> => {
  const reader: Reader = { file: await readYamlFile(path), faults: [], places: new Map() };
  const { faults } = reader;
  const found = readSections(reader);
  const [baseNode, matrixNode, includeNode, excludeNode, evaluateNode] = sections.map((name) =>
    found.get(name),
  );
  const base = baseNode ? readMap(reader, baseNode, "base", runFlags) : {};
  const matrix = matrixNode ? readMatrix(reader, matrixNode) : [];
  const include = includeNode ? readList(reader, includeNode, "include") : [];
  const exclude = excludeNode ? readList(reader, excludeNode, "exclude") : [];
  const varied = new Set(matrix.map(([name]) => name));
  for (const entry of exclude)
    for (const [name, text] of Object.entries(entry).filter(([name]) => !varied.has(name)))
      faults.push({
        what: `${name} (${reader.places.get(textKey(name, text)) ?? path})`,
        found: "it in exclude",
        expected: "a name of the matrix",
      });
  const evaluate = evaluateNode && readMap(reader, evaluateNode, "evaluate", evaluationFlags);
  const single = faults.length;

  const checked = combine(matrix, include, exclude).map((texts) => ({
    name: nameOf(texts),
    ...check(reader, { ...base, ...texts }, context),
  }));
  const runs = checked.map(({ name, texts, values, unread }): PlannedRun => {
    const useless = new Set(unread.map((flag) => flag.name));
    const kept = Object.entries(texts).filter(([flag]) => !useless.has(flag));
    return { name, args: argsOf(Object.fromEntries(kept)), settings: values };
  });
  const answers = evaluate && check(reader, { ...evaluate, ckpt: "RUN" }, context);
  const warnings = [
    ...judgeSettings(reader, checked),
    ...(answers ? judgeSettings(reader, [answers]) : []),
  ];
  const names = runs.map(({ name }) => name);
  for (const name of new Set(names.filter((name, i) => names.indexOf(name) !== i)))
    faults.push({ what: path, found: `two runs ${name}`, expected: "runs that differ" });
  if (runs.length === 0 && single === 0)
    faults.push({ what: path, found: "no run that exclude leaves", expected: "at least one" });
  return {
    plan: { runs, evaluate: evaluate && argsOf(evaluate) },
    faults: distinct(faults),
    warnings,
  };
};

/** Whether two runs have the same effective settings; flags that one of them does not know count with their defaults. */
export const sameSettings = (
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): boolean => {
  const flags: Flags = trainFlags;
  const value = (of: Readonly<Record<string, unknown>>, name: string): unknown => {
    const flag = flags[name];
    return name in of ? of[name] : flag && defaultOf(flag);
  };
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every(
    (name) => JSON.stringify(value(a, name)) === JSON.stringify(value(b, name)),
  );
};
