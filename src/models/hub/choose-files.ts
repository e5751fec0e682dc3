import { UserError } from "../../core/errors.js";
import { indexName } from "../model-folder.js";
import { singleName } from "../shards.js";
import type { HubFile } from "./hub-api.js";
import { adapterFiles, tokenizerFile, type HubPurpose } from "./hub-cache.js";
import { hubNameText, type HubName } from "./hub-name.js";

const tokenizerFiles = [
  tokenizerFile,
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
];

/** What of a repository is fetched. Programs, pickles and other copies of the weights never are. */
export interface ChosenFiles {
  /** Fetched first: they say whether the rest is of use. */
  readonly small: readonly HubFile[];
  /** The one file of weights, or the index that names them. */
  readonly weights: HubFile | undefined;
  readonly isAdapter: boolean;
  /** Of the names that would have been fetched, those that are not there. */
  readonly missing: readonly string[];
}

const pickle = /\.(?:bin|pt|pth|ckpt|pkl)$/;
const weightFile = /\.(?:bin|pt|pth|ckpt|pkl|h5|msgpack|gguf|onnx|safetensors)$/;

/** Names for a message: the first few. */
const listOf = (names: readonly string[]): string =>
  names.length === 0
    ? "nothing"
    : `${names.slice(0, 4).join(", ")}${names.length > 4 ? `, and ${String(names.length - 4)} more` : ""}`;

/** Whether the weights are there as pickles alone. */
export const hasOnlyPickles = (files: readonly HubFile[]): boolean => {
  const names = files.map(({ path }) => path);
  return (
    !names.some((name) => name === singleName || name === indexName) &&
    names.some((name) => /^pytorch_model.*\.bin$/.test(name))
  );
};

/**
 * The files of a commit that serve a purpose; the weights are looked for, and may be missing: see requireWeights.
 *
 * @throws {UserError} if it is neither a model nor, where one will do, an adapter
 */
export const chooseFiles = (
  name: HubName,
  files: readonly HubFile[],
  purpose: HubPurpose,
): ChosenFiles => {
  const byName = new Map(files.map((file) => [file.path, file]));
  const isAdapter = purpose === "trained" && byName.has(adapterFiles.config);
  const wanted = isAdapter
    ? [adapterFiles.config, ...tokenizerFiles]
    : ["config.json", "generation_config.json", ...tokenizerFiles];
  if (!isAdapter && purpose !== "tokenizer" && !byName.has("config.json")) {
    const found = byName.has(adapterFiles.config)
      ? "found an adapter"
      : `found ${listOf([...byName.keys()])}`;
    throw new UserError(
      `Cannot use ${hubNameText(name)}: ${found}, expected ${purpose === "trained" ? "an adapter (adapter_config.json) or a model" : "a model"} (config.json)`,
      byName.has(adapterFiles.config)
        ? "Give it as --ckpt, and its base model as --model"
        : [...byName.keys()].some((path) => path.endsWith(".gguf"))
          ? `A GGUF file is fetched by hand, "hf download ${name.repo} FILE.gguf --local-dir .", and given as --model=FILE.gguf`
          : "Repositories of a model have its files in their root",
    );
  }
  const weights = isAdapter
    ? byName.get(adapterFiles.weights)
    : (byName.get(singleName) ?? byName.get(indexName));
  return {
    small: wanted.flatMap((path) => byName.get(path) ?? []),
    weights: purpose === "tokenizer" ? undefined : weights,
    isAdapter,
    missing: wanted.filter((path) => !byName.has(path)),
  };
};

/** @throws {UserError} naming what there is in place of weights that can be read */
export const requireWeights = (
  name: HubName,
  files: readonly HubFile[],
  { weights, isAdapter }: ChosenFiles,
): HubFile => {
  if (weights) return weights;
  const { repo } = name;
  const found = files.map(({ path }) => path).filter((path) => weightFile.test(path));
  const task = `Cannot use ${hubNameText(name)}: found ${found.length > 0 && found.every((path) => pickle.test(path)) ? "only pickles" : "no weights that are read"} (${listOf(found)})`;
  if (isAdapter)
    throw new UserError(
      `${task}, expected ${adapterFiles.weights}`,
      `Pickles can run any code and are not fetched. Where you trust it: hf download ${repo} --local-dir ADAPTER, then python scripts/convert_adapter_bin.py ADAPTER, then --ckpt=ADAPTER`,
    );
  throw new UserError(
    `${task}, expected ${singleName} or ${indexName}`,
    found.some((path) => pickle.test(path))
      ? "Pickles can run any code and are not fetched. Another revision may have safetensors: --model=" +
          `${repo}@refs/pr/NUMBER takes a pull request. Or convert them where you trust them: python -c ` +
          `"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; [c.from_pretrained('${repo}').save_pretrained('MODEL') for c in (M, T)]", then --model=MODEL`
      : "Only safetensors are fetched: look for a repository that has them",
  );
};
