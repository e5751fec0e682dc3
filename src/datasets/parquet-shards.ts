import { basename, dirname, join } from "node:path";

const shardName = /^(.*)-(\d{5})-of-(\d{5})\.parquet$/;

/**
 * The files that the first of several shards stands for: `train-00000-of-00003.parquet` for all three, in their order. Any other path stands for itself.
 *
 * Source: the names that Hugging Face's datasets library gives.
 */
export const shardPaths = (path: string): readonly string[] => {
  const [, stem = "", number = "", count = ""] = shardName.exec(basename(path)) ?? [];
  if (Number(count) < 2 || Number(number) !== 0) return [path];
  return Array.from({ length: Number(count) }, (_, i) =>
    join(dirname(path), `${stem}-${String(i).padStart(5, "0")}-of-${count}.parquet`),
  );
};

/** Among the names in a folder, the first shard of a split's rows: `<stem>-00000-of-00003.parquet`. */
export const firstShardOf = (names: readonly string[], stem: string): string | undefined =>
  names
    .filter((name) => {
      const [, found, number] = shardName.exec(name) ?? [];
      return found === stem && Number(number) === 0;
    })
    .sort()[0];
