import test from "ava";
import { defaultShardSize, parseShardSize, planShards } from "../../src/models/shards.js";

test("parseShardSize reads the sizes that transformers reads, and no others", (t) => {
  const read = ["5GB", " 200mb ", "1.5 KB", ".5KB", "2TB", defaultShardSize].map(parseShardSize);
  t.deepEqual(read, [5e9, 2e8, 1500, 500, 2e12, 5e9]);
  for (const text of ["", "5", "5B", "GB", "5GiB", "-1GB", "0GB", "1e3KB", "five GB"])
    t.is(parseShardSize(text), undefined, text);
});

// Made by split_state_dict_into_shards_factory of huggingface_hub 1.x with a limit of 10.
const goldens: readonly (readonly [sizes: readonly number[], shards: readonly number[][]])[] = [
  [
    [6, 6, 2, 6, 2, 2],
    [[6], [6, 2], [6, 2, 2]],
  ],
  [
    [4, 11, 4, 4],
    [[11], [4, 4], [4]],
  ],
  [
    [12, 3, 12, 3],
    [[12], [12], [3, 3]],
  ],
  [
    [10, 10],
    [[10], [10]],
  ],
  [[1, 2, 3], [[1, 2, 3]]],
];
for (const [sizes, shards] of goldens)
  test(`planShards fills files as transformers does: ${sizes.join(", ")}`, (t) => {
    const planned = planShards(
      sizes.map((bytes) => ({ bytes })),
      10,
    );
    t.deepEqual(
      planned.map((shard) => shard.map(({ bytes }) => bytes)),
      shards,
    );
  });
