import { didYouMean, UserError, userErrorOfFaults } from "../../core/errors.js";
import { elementCount } from "../../core/dtype.js";
import type { JsonObject } from "../../core/json-file.js";
import { quoteJson } from "../../core/json-file.js";
import type { Model } from "../model.js";
import type { WrittenArchitecture } from "./architecture.js";
import { writtenArchitectures } from "./architectures.js";
import { encodeTensor } from "./encode-tensor.js";
import { pairRows } from "./paired-rows.js";
import { ggufTokenizer, withoutTokenizer, type ReadCompanion } from "./write-gguf-tokenizer.js";
import type { GgufEntries, GgufStorage, GgufTensorToWrite, GgufToWrite } from "./write-gguf.js";

/** The --outtype of llama.cpp's scripts. */
export const outTypes = ["f32", "f16", "bf16", "q8_0"] as const;
/** A value of --outtype. */
export type OutType = (typeof outTypes)[number];

/** The type of matrices, and the number of general.file_type. Source: enum LlamaFileType of gguf 0.19. */
const fileTypes: Readonly<Record<OutType, readonly [type: GgufStorage, fileType: number]>> = {
  f32: ["F32", 0],
  f16: ["F16", 1],
  bf16: ["BF16", 32],
  q8_0: ["Q8_0", 7],
};

/** Elements of a block of Q8_0, of which a row holds a whole number. */
const BLOCK = 32;

/** Vectors and small tables stay in float32, rows without a whole number of blocks in float16, as in llama.cpp's scripts. */
const typeOf = (shape: readonly number[], outType: OutType): GgufStorage => {
  const [type] = fileTypes[outType];
  if (shape.length < 2) return "F32";
  return type === "Q8_0" && (shape.at(-1) ?? 0) % BLOCK > 0 ? "F16" : type;
};

/** How a model is written. */
export interface ModelToExport {
  /** Names the model's folder in errors. */
  readonly path: string;
  readonly model: Model;
  readonly rawConfig: JsonObject;
  /** general.name. */
  readonly title: string;
  readonly outType: OutType;
  /** The files of the folder whose tokenizer goes with it. */
  readonly companions: ReadCompanion;
  /** A tensor's elements by its Hugging Face name. */
  readonly read: (name: string) => Promise<Float32Array>;
  /** Called when a tensor has been made. */
  readonly onTensor?: (name: string) => void;
}

interface Written {
  readonly file: GgufToWrite;
  /** For the person to read. */
  readonly warnings: readonly string[];
}

/** @throws {UserError} if llama.cpp has no name for the model's family that is known here */
const architectureOf = (
  { modelType }: Model,
  path: string,
): readonly [name: string, architecture: WrittenArchitecture] => {
  const found = [...writtenArchitectures].find(([, { modelTypes }]) =>
    modelTypes.includes(modelType),
  );
  if (found) return found;
  const known = [...writtenArchitectures.values()].flatMap(({ modelTypes }) => modelTypes);
  throw new UserError(
    `Cannot write ${path} as GGUF: found model_type ${quoteJson(modelType)}, expected one of ${known.join(", ")}`,
    didYouMean(modelType, known) ?? "Convert it with llama.cpp's own convert_hf_to_gguf.py",
  );
};

const general = (
  architecture: string,
  kind: "model" | "adapter",
  { title, outType }: { readonly title: string; readonly outType: OutType },
): GgufEntries => [
  ["general.architecture", { text: architecture }],
  ["general.type", { text: kind }],
  ["general.name", { text: title }],
  ["general.file_type", { uint32: fileTypes[outType][1] }],
  ["general.quantization_version", { uint32: 2 }],
];

const nameIn = (architecture: WrittenArchitecture, tensor: string): string => {
  const name = architecture.ggufNameOf(tensor);
  if (name === undefined)
    throw new RangeError(`Cannot write "${tensor}": the architecture has no name for it`);
  return name;
};

/** The heads as config.json names them, whatever it leaves out. */
const headsOf = ({ heads, kvHeads }: Model): JsonObject => ({
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
});

/**
 * What a model's GGUF file will hold: the names, order of rows and metadata of llama.cpp. No weight is read yet.
 *
 * @throws {UserError} if the family, a part of its config or its tokenizer cannot be said in such a file
 */
export const planModelGguf = async (source: ModelToExport): Promise<Written> => {
  const { path, model, rawConfig, outType, companions, read, onTensor } = source;
  const [name, architecture] = architectureOf(model, path);
  const faults: string[] = [];
  const { metadata, extra, warnings } = architecture.write(model, rawConfig, faults);
  for (const tensor of model.tensors.keys())
    if (architecture.ggufNameOf(tensor) === undefined)
      faults.push(`"${tensor}": found in the model, expected the tensors of a language model`);
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot write ${path} as GGUF`,
      faults,
      "A file without it would compute other numbers in llama.cpp",
    );
  const tokenizer = await ggufTokenizer(companions, model, path);
  const tensors = [...model.tensors].map(([tensor, shape]): GgufTensorToWrite => {
    const written = nameIn(architecture, tensor);
    const heads = architecture.pairedHeads(written, headsOf(model));
    const type = typeOf(shape, outType);
    return {
      name: written,
      type,
      shape,
      async data() {
        const values = await read(tensor);
        const ordered = heads === undefined ? values : pairRows(values, shape, heads);
        const bytes = encodeTensor(tensor, type, ordered);
        onTensor?.(tensor);
        return bytes;
      },
    };
  });
  return {
    file: {
      metadata: [
        ...general(name, "model", source),
        ...metadata,
        ...(tokenizer ?? withoutTokenizer(model)),
      ],
      tensors: [
        ...extra.map(({ name: extraName, values }): GgufTensorToWrite => ({
          name: extraName,
          type: "F32",
          shape: [values.length],
          data: () => Promise.resolve(encodeTensor(extraName, "F32", values)),
        })),
        ...tensors,
      ],
    },
    warnings: [
      ...warnings,
      ...(tokenizer
        ? []
        : [`${path} has no tokenizer.json: the file takes and gives token ids alone`]),
    ],
  };
};

/** One layer of a LoRA adapter: its update is scale * B A. */
export interface LoraToExport {
  /** The Hugging Face name of the weight. */
  readonly weight: string;
  readonly table: "embedding" | "head" | undefined;
  readonly rank: number;
  readonly scale: number;
  /** [rank, in]; of the embedding [rank, vocab]. */
  readonly A: { readonly shape: readonly number[]; readonly data: Float32Array };
  /** [out, rank]; of the embedding [hidden, rank]. */
  readonly B: { readonly shape: readonly number[]; readonly data: Float32Array };
}

const transposed = (values: Float32Array, [rows = 0, columns = 0]: readonly number[]) => {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column] ?? NaN;
  return out;
};

/**
 * What a LoRA adapter's GGUF file will hold. llama.cpp scales each layer by adapter.lora.alpha over its rank: where layers have
 * other scales, the difference goes into B.
 *
 * Source: convert_lora_to_gguf.py of llama.cpp.
 * @throws {UserError} if the family cannot be said in such a file
 */
export const planAdapterGguf = (
  source: Pick<ModelToExport, "path" | "model" | "title" | "outType">,
  layers: readonly LoraToExport[],
): GgufToWrite => {
  const { path, model, outType } = source;
  const [name, architecture] = architectureOf(model, path);
  const [first] = layers;
  const alpha = first ? first.scale * first.rank : 1;
  const tensors = layers.flatMap(({ weight, table, rank, scale, A, B }): GgufTensorToWrite[] => {
    const base = nameIn(architecture, weight);
    const heads = architecture.pairedHeads(base, headsOf(model));
    const factor = (scale * rank) / alpha;
    const tensor = (
      end: string,
      shape: readonly number[],
      values: () => Float32Array,
    ): GgufTensorToWrite => {
      const type = typeOf(shape, outType);
      return {
        name: `${base}.${end}`,
        type,
        shape,
        data: () => Promise.resolve(encodeTensor(`${weight}.${end}`, type, values())),
      };
    };
    const isEmbedding = table === "embedding";
    return [
      tensor("lora_a", isEmbedding ? [...A.shape].reverse() : A.shape, () =>
        isEmbedding ? transposed(A.data, A.shape) : A.data,
      ),
      tensor("lora_b", B.shape, () => {
        const scaled = factor === 1 ? B.data : B.data.map((value) => value * factor);
        return heads === undefined ? scaled : pairRows(scaled, B.shape, heads);
      }),
    ];
  });
  return {
    metadata: [
      ...general(name, "adapter", source),
      ["adapter.type", { text: "lora" }],
      ["adapter.lora.alpha", { float32: alpha }],
    ],
    tensors,
  };
};

/** How many elements a file's tensors of each type have, the most first. */
export const countByType = ({ tensors }: GgufToWrite): ReadonlyMap<GgufStorage, number> => {
  const counts = new Map<GgufStorage, number>();
  for (const { type, shape } of tensors)
    counts.set(type, (counts.get(type) ?? 0) + elementCount(shape));
  return new Map([...counts].sort(([, a], [, b]) => b - a));
};
