import { userErrorOfFaults } from "../core/errors.js";
import { isFloat } from "../core/dtype.js";
import { readSafetensorsHeader, readTensorAsFloat32 } from "../models/weights/safetensors.js";
import type { ModelFolder } from "../models/model-folder.js";
import { adapterFormats } from "./adapter-formats.js";
import { isOtherTable } from "./base-copies.js";

/** Start values out of the file of --adapter_init. */
export interface AdapterInit {
  /** By our parameter names, in float32. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** Names in the file that are none of the parameters: another method's, or layers that are not adapted. */
  readonly unused: readonly string[];
}

const aliases = adapterFormats.flatMap((format) => Object.entries(format.aliases));

/**
 * Our names of what makes virtual tokens in peft, by its name without `prompt_encoder.default.`: of p-tuning's encoder, of a prefix with a
 * projection, and of the table alone.
 *
 * Source: PromptEncoder, PrefixEncoder and PromptEmbedding of peft 0.21.2.
 */
const encoderNames = (name: string): readonly string[] => {
  if (name === "embedding.weight") return ["encoder.embedding", "table", "embedding"];
  const layer = /^(?:mlp_head|transform)\.(.+)$/.exec(name)?.[1];
  const lstm = /^lstm_head\.(.+)$/.exec(name)?.[1];
  return [...(layer ? [`encoder.${layer}`] : []), ...(lstm ? [`encoder.lstm.${lstm}`] : [])];
};

/** Our names that a name in a file may stand for, the likeliest first. */
const candidates = (fileName: string, method: string): string[] => {
  const name = fileName
    .replace(/^base_model\.model\./, "")
    .replace(new RegExp(`^${method}/`), "")
    .replace(/_start$/, "");
  const renamed = aliases
    .filter(([suffix]) => name === suffix || name.endsWith(`.${suffix}`))
    .map(([suffix, ours]) => name.slice(0, name.length - suffix.length) + ours);
  return [
    ...[fileName, name, ...renamed],
    ...encoderNames(name.replace(/^prompt_encoder\.[^.]+\./, "")),
    ...(name === "prefix" ? ["table"] : []),
  ];
};

/**
 * Reads start values for `--adapter_init`.
 *
 * Takes our names (`model.layers.0.self_attn.q_proj.A`), peft's (`base_model.model.<path>.hira_A`, `.lora_A.weight`,
 * `prompt_embeddings`, `prompt_encoder.default.mlp_head.0.weight` with or without what stands in front), and those of stored reference values (`hira/<path>.A`, `<path>.B_start`, `prefix_start`).
 * A parameter that the file does not name keeps its own start value.
 * @param parameters shapes by our names
 * @param method the value of --peft_type, for names of the form `<method>/<name>`
 * @param base the run's model: an adapter that was trained beside another embedding or head is no start on it
 * @throws {UserError} if the file is broken, names none of the parameters, or names one twice, misshapen or as integers
 */
export const readAdapterInit = async (
  path: string,
  parameters: ReadonlyMap<string, readonly number[]>,
  method: string,
  base: Pick<ModelFolder, "weights" | "model">,
): Promise<AdapterInit> => {
  const { entries } = await readSafetensorsHeader(path);
  const values = new Map<string, Float32Array>();
  const unused: string[] = [];
  const faults: string[] = [];
  let otherTables = 0;
  for (const [fileName, entry] of entries) {
    const name = candidates(fileName, method).find((candidate) => parameters.has(candidate));
    const shape = name === undefined ? undefined : parameters.get(name);
    if (name === undefined || shape === undefined) {
      const isOther = await isOtherTable(entry, base);
      if (isOther === undefined) unused.push(fileName);
      else if (isOther) {
        otherTables++;
        faults.push(
          `"${fileName}": found [${entry.shape.join(", ")}], the embedding or head that the adapter was trained beside, expected those of this run's model`,
        );
      }
    } else if (values.has(name))
      faults.push(`"${fileName}": found a second value for ${name}, expected one`);
    else if (entry.shape.join() !== shape.join())
      faults.push(
        `"${fileName}": found [${entry.shape.join(", ")}], expected [${shape.join(", ")}]`,
      );
    else if (!isFloat(entry.dtype))
      faults.push(`"${fileName}": found ${entry.dtype}, expected a float dtype`);
    else values.set(name, await readTensorAsFloat32(entry));
  }
  if (values.size === 0 && faults.length === 0)
    faults.push(
      `found ${unused.length === 0 ? "no tensor" : `"${unused.slice(0, 3).join('", "')}"`}, expected names such as "${[...parameters.keys()][0] ?? ""}"`,
    );
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot take start values from ${path}`,
      faults,
      otherTables > 0
        ? "Merge the adapter into its model first (hira merge --ckpt=ADAPTER --model=BASE --out=MERGED), and train on that"
        : "--adapter_init sets the parameters of this run: its method, rank and target modules must be the file's",
    );
  return { values, unused };
};
