import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isAbsolute } from "node:path";
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type YAMLMap,
} from "yaml";
import { didYouMean, messageOf, UserError, userErrorOfFaults } from "../core/errors.js";
import { quoteJson } from "../core/json-file.js";
import { standInFault } from "../core/stand-in.js";
import { foreignNameHint } from "./foreign-names.js";
import { foundAtKey } from "../report/run-config.js";
import { originalFlagNames } from "./options.js";
import { defaultOf, type Flag, type FlagFault, type Flags } from "../core/flag.js";
import { readFlag } from "./flag.js";

/** A YAML file that was parsed, and where its parts stand. */
export interface YamlFile {
  readonly path: string;
  /** The file's value; null for an empty file. */
  readonly root: Node | null;
  /** The line of a node, from 1. */
  lineOf(node: Node): number;
  /** What an alias stands for; any other node is itself. */
  resolve(node: unknown): Node | undefined;
}

/**
 * Parses a YAML file (1.2: yes, no, on and off are text).
 *
 * @throws {UserError} if it cannot be read or is no YAML; all faults with their lines
 */
export const readYamlFile = async (path: string): Promise<YamlFile> => {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const standIn = standInFault(text, path);
  if (standIn) throw standIn;
  const lines = new LineCounter();
  const document: Document.Parsed = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
  });
  const faults = [...document.errors, ...document.warnings].map(({ pos, message }) => {
    const { line, col } = lines.linePos(pos[0]);
    return `line ${String(line)}, column ${String(col)}: ${message}`;
  });
  if (faults.length > 0)
    throw userErrorOfFaults(`Cannot read ${path} as YAML`, faults, "Mend those lines");
  return {
    path,
    root: document.contents,
    lineOf: ({ range }) => lines.linePos(range?.[0] ?? 0).line,
    resolve(node) {
      const target: unknown = isAlias(node) ? node.resolve(document) : node;
      return isScalar(target) || isMap(target) || isSeq(target) ? target : undefined;
    },
  };
};

/** The keys of a map with their values, aliases resolved. Keys that are no text are faults, as `refuse` tells them. */
export const entriesOf = (
  file: YamlFile,
  map: YAMLMap,
  refuse: (line: number, found: string) => void,
): readonly { readonly name: string; readonly value: Node | undefined; readonly line: number }[] =>
  map.items.flatMap(({ key, value }) => {
    const node = file.resolve(key);
    const line = node ? file.lineOf(node) : 1;
    if (isScalar(node) && typeof node.value === "string")
      return [{ name: node.value, value: file.resolve(value), line }];
    refuse(line, quoteJson(node?.toJSON()));
    return [];
  });

/** Flags with values out of a file. */
export interface Settings {
  /** Texts as on the command line, by the flags' names; true for a switch that is on. */
  readonly texts: Readonly<Record<string, string | true>>;
  /** `FILE, line 3`, by the flags' names, for what later checks find. */
  readonly places: Readonly<Record<string, string>>;
  /**
   * The flags whose values are somebody's choice: not those at their defaults, and none of a file that has every flag of
   * train_hira.py, which only a run writes (config.yaml).
   */
  readonly chosen: readonly string[];
  /** The model's folder, where a run's file says it and it is still there; the texts keep the name that was given. */
  readonly modelFolder?: string;
  readonly faults: readonly FlagFault[];
}

type Text = { readonly text: string | true | undefined } | { readonly expected: string };

const kindWords = {
  switch: "true or false",
  boolean: "true or false",
  integer: "a whole number",
  number: "a number",
} as const;

/** Several values as one text with commas, or undefined if one of them is no plain value. */
const joined = (file: YamlFile, node: Node): string | undefined => {
  if (!isSeq(node)) return undefined;
  const parts = node.items.map((item) => {
    const part = file.resolve(item);
    return isScalar(part) && ["string", "number"].includes(typeof part.value)
      ? String(part.value)
      : undefined;
  });
  return parts.includes(undefined) || parts.length === 0 ? undefined : parts.join(",");
};

/** The text of a value as on the command line; undefined for a flag that is not given. */
const textOf = (file: YamlFile, flag: Flag, node: Node | undefined): Text => {
  const value: unknown = isScalar(node) ? node.value : undefined;
  if (node === undefined || (isScalar(node) && value === null))
    return flag.kind !== "switch" && flag.default === null
      ? { text: undefined }
      : { expected: flag.kind === "text" ? "text" : kindWords[flag.kind] };
  switch (flag.kind) {
    case "switch":
      return typeof value === "boolean"
        ? { text: value ? true : undefined }
        : { expected: kindWords.switch };
    case "boolean":
      return typeof value === "boolean" ? { text: String(value) } : { expected: kindWords.boolean };
    case "integer":
    case "number":
      return typeof value === "number"
        ? { text: String(value) }
        : { expected: kindWords[flag.kind] };
    case "text": {
      if (typeof value === "string") return { text: value };
      if (typeof value === "boolean" && flag.takesTruth === true) return { text: String(value) };
      const list = flag.list === true ? joined(file, node) : undefined;
      if (list !== undefined) return { text: list };
      return { expected: flag.list === true ? "text or a list of texts" : "text, in quotes" };
    }
  }
};

/** What to write for a name that is no flag: one that it begins, among train_hira.py's first, or one that is near. */
const suggestion = (name: string, flags: Flags): string | undefined => {
  const usual = foreignNameHint(name, flags, "");
  if (usual !== undefined) return usual;
  const all = Object.keys(flags);
  for (const names of [all.filter((known) => flags[known]?.ours !== true), all]) {
    const begun = names.filter((known) => known.startsWith(name) && name !== "");
    const [only] = begun;
    if (begun.length === 1 && only !== undefined) return `Did you mean "${only}"?`;
  }
  return didYouMean(name, all);
};

/** The flag `name` with the value `node`, or what is wrong with it. */
export const readSetting = (
  file: YamlFile,
  {
    name,
    value,
    line,
  }: { readonly name: string; readonly value: Node | undefined; readonly line: number },
  flags: Flags,
): { readonly text: string | true | undefined } | { readonly fault: FlagFault } => {
  const place = `${file.path}, line ${String(line)}`;
  const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
  if (flag === undefined) {
    const hint = suggestion(name, flags);
    return {
      fault: {
        what: `${JSON.stringify(name)} (${place})`,
        found: "an unknown name",
        expected: "a flag of this command, without its dashes",
        ...(hint === undefined ? {} : { hint }),
      },
    };
  }
  const what = `${name} (${place})`;
  const read = textOf(file, flag, value);
  if ("expected" in read)
    return {
      fault: { what, found: quoteJson(value?.toJSON() ?? null), expected: read.expected },
    };
  if (flag.kind !== "switch" && typeof read.text === "string") {
    const reading = readFlag(name, flag, read.text);
    if ("fault" in reading) return { fault: { ...reading.fault, what } };
  }
  return read;
};

const isDefault = (name: string, flag: Flag, text: string | true): boolean => {
  if (flag.kind === "switch" || text === true) return false;
  const reading = readFlag(name, flag, text);
  return "value" in reading && reading.value === defaultOf(flag);
};

/** The settings of a map in a file, all that is wrong with them in `faults`. */
export const readSettings = (file: YamlFile, map: YAMLMap, flags: Flags): Settings => {
  const texts: Record<string, string | true> = {};
  const places: Record<string, string> = {};
  const faults: FlagFault[] = [];
  const refuse = (line: number, found: string): void => {
    faults.push({
      what: `${file.path}, line ${String(line)}`,
      found: `the key ${found}`,
      expected: "a flag's name",
    });
  };
  for (const entry of entriesOf(file, map, refuse)) {
    const setting = readSetting(file, entry, flags);
    if (Object.hasOwn(flags, entry.name))
      places[entry.name] = `${file.path}, line ${String(entry.line)}`;
    if ("fault" in setting) faults.push(setting.fault);
    else if (setting.text !== undefined) texts[entry.name] = setting.text;
  }
  const isRecord = originalFlagNames.every((name) => Object.hasOwn(places, name));
  const chosen = Object.entries(texts).flatMap(([name, text]) => {
    const flag = flags[name];
    return isRecord || !flag || isDefault(name, flag, text) ? [] : [name];
  });
  return { texts, places, chosen, faults };
};

/** The absolute paths that a run's file has, by their flags' names, as far as they are still there. */
const readFoundAt = (node: Node | undefined): Readonly<Record<string, string>> => {
  if (!isMap(node)) return {};
  const value = node.toJSON() as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, path]) =>
      typeof path === "string" && isAbsolute(path) && existsSync(path) ? [[name, path]] : [],
    ),
  );
};

/** The settings of a run's file, its paths those that are known to lead to its files. */
const withFoundPaths = (
  settings: Settings,
  foundAt: Readonly<Record<string, string>>,
  flags: Flags,
): Settings => {
  const { model_name: modelFolder, ...others } = foundAt;
  const known = Object.entries(others).filter(([name]) => Object.hasOwn(flags, name));
  return {
    ...settings,
    texts: { ...settings.texts, ...Object.fromEntries(known) },
    ...(modelFolder !== undefined && { modelFolder }),
  };
};

/** The flag that every command has beside its own. */
export const configFlag = {
  config: {
    ours: true,
    kind: "text",
    group: "Files and output",
    placeholder: "file",
    default: null,
    help: "YAML file of this command's flags by their names; what stands on the command line counts before it, --no_<flag> against a switch that is true there",
  },
} as const satisfies Flags;

/**
 * Reads a --config file: a flag's name a key, without its dashes; numbers and true or false for what they are, lists where the
 * flag takes names with commas between them, null for a flag that is not given.
 *
 * @throws {UserError} if the file cannot be read, is no YAML, or holds something else than a map
 */
export const readConfigFile = async (path: string, flags: Flags): Promise<Settings> => {
  const file = await readYamlFile(path);
  if (file.root === null || (isScalar(file.root) && file.root.value === null))
    return { texts: {}, places: {}, chosen: [], faults: [] };
  if (!isMap(file.root))
    throw new UserError(
      `Cannot read ${path}: found ${quoteJson(file.root.toJSON())}, expected a flag and its value a line, such as "lr: 1e-3"`,
    );
  const key = file.root.items.findIndex(
    (item) => isScalar(item.key) && item.key.value === foundAtKey,
  );
  if (key < 0) return readSettings(file, file.root, flags);
  const [pair] = file.root.items.splice(key, 1);
  const foundAt = readFoundAt(file.resolve(pair?.value));
  return withFoundPaths(readSettings(file, file.root, flags), foundAt, flags);
};
