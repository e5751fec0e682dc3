import { dtypes, elementCount, type DType } from "../core/dtype.js";

/** As transformers 4.41, on which train_hira.py runs, has it; transformers 5 says 50GB. */
export const defaultShardSize = "5GB";

const units: Readonly<Record<string, number>> = { TB: 1e12, GB: 1e9, MB: 1e6, KB: 1e3 };

/**
 * The bytes of a size with a unit, "5GB" or "1.5 mb"; a GB is 10^9 bytes. Undefined for any other text.
 *
 * Source: parse_size_to_int of huggingface_hub 1.x.
 */
export const parseShardSize = (text: string): number | undefined => {
  const [, number = "", unit = ""] = /^\s*(\d+\.?\d*|\.\d+)\s*([KMGT]B)\s*$/i.exec(text) ?? [];
  const bytes = Math.floor(Number(number) * (units[unit.toUpperCase()] ?? NaN));
  return bytes > 0 && bytes < Infinity ? bytes : undefined;
};

interface Sized {
  readonly bytes: number;
}

/**
 * The tensors of each file `model-00001-of-0000n.safetensors`, in order, so that no file has more than `maxBytes` of data.
 *
 * A larger tensor has a file of its own, and the file that was being filled goes on behind it.
 * Source: split_state_dict_into_shards_factory of huggingface_hub 1.x, which transformers writes by.
 */
export const planShards = <T extends Sized>(
  tensors: readonly T[],
  maxBytes: number,
): readonly (readonly T[])[] => {
  const shards: T[][] = [];
  let filling: T[] = [];
  let filled = 0;
  for (const tensor of tensors) {
    const { bytes } = tensor;
    if (bytes > maxBytes) {
      shards.push([tensor]);
      continue;
    }
    if (filled + bytes > maxBytes) {
      shards.push(filling);
      [filling, filled] = [[], 0];
    }
    filling.push(tensor);
    filled += bytes;
  }
  return filling.length > 0 ? [...shards, filling] : shards;
};

/** The file of the only shard. */
export const singleName = "model.safetensors";

/** What a shard is called: `model.safetensors` where it is the only one, else model-00001-of-00002.safetensors and so on. */
export const shardName = (index: number, count: number): string => {
  const digits = (n: number): string => String(n).padStart(5, "0");
  return count === 1 ? singleName : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
};

/** The file of each tensor, by its name, as a model of them is written by default. */
export const nameShards = (
  tensors: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly number[];
  }[],
): ReadonlyMap<string, string> => {
  const sized = tensors.map(({ name, dtype, shape }) => ({
    name,
    bytes: elementCount(shape) * dtypes[dtype].bytes,
  }));
  const shards = planShards(sized, parseShardSize(defaultShardSize) ?? Infinity);
  return new Map(
    shards.flatMap((shard, i) =>
      shard.map(({ name }): [string, string] => [name, shardName(i, shards.length)]),
    ),
  );
};
