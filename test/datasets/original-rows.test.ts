import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "ava";
import { compatNames, type Compat } from "../../src/core/compat.js";
import { buildBatch, trainingLayout } from "../../src/datasets/build-batch.js";
import { isInOnePiece } from "../../src/datasets/encode-one-piece.js";
import {
  encodePrompts,
  encodeTrainingRows,
  trainingTargetTokens,
} from "../../src/datasets/encode-rows.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import type { Row, Split } from "../../src/datasets/rows.js";
import { templates } from "../../src/datasets/templates.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { testWithShared } from "../support/shared.js";

interface Reference {
  readonly rows: number;
  readonly sets: Readonly<
    Record<
      string,
      {
        readonly split: Split;
        readonly template: 0 | 4 | 7;
        readonly rows: number;
        readonly encoded: Readonly<
          Record<string, { readonly masked: number; readonly lines: readonly string[] }>
        >;
      }
    >
  >;
}

// What scripts/reference/original_rows.py made with the authors' own functions.
const reference = JSON.parse(
  readFileSync(new URL("../fixtures/datasets/original-rows.json", import.meta.url), "utf8"),
) as Reference;

const asOriginal: Compat = new Set(compatNames);

const digest = (data: string | Uint8Array): string =>
  createHash("sha256").update(data).digest("hex").slice(0, 8);
const idsDigest = (ids: ArrayLike<number>): string => {
  const bytes = Buffer.alloc(4 * ids.length);
  for (let i = 0; i < ids.length; i++) bytes.writeInt32LE(ids[i] ?? 0, 4 * i);
  return digest(bytes);
};

testWithShared(
  "text, ids, mask, labels and prompts of every template equal the original's under --compat=reference",
  "data",
  async (t, shared) => {
    for (const [name, { split, template, rows: count, encoded }] of Object.entries(
      reference.sets,
    )) {
      const { member, family } = findSingleDataset(name);
      t.is(member.template, templates[template], name);
      // The file of that split: under compat "splits" the validation of some sets would be test.
      const loaded = await family.load(member, split, {
        root: `${shared}/data_file`,
        useInput: false,
      });
      t.is(loaded.rows.length, count, name);
      for (const [tokenizerName, { masked, lines }] of Object.entries(encoded)) {
        const tokenizer = await loadTokenizer(`${shared}/${tokenizerName}`);
        const rows = loaded.rows.slice(0, lines.length);
        const options = {
          tokenizer,
          template: member.template,
          maxContextTokens: member.maxContextTokens,
          compat: asOriginal,
          path: loaded.path,
        };
        const maxTargetTokens = trainingTargetTokens(member, undefined, asOriginal);
        const set = await encodeTrainingRows(rows, {
          ...options,
          maxTargetTokens,
          allowsUnlabelled: true,
        });
        const prompts = await encodePrompts(rows, options);
        const layout = trainingLayout(
          {
            maxContextTokens: member.maxContextTokens,
            maxTargetTokens,
            inOnePiece: isInOnePiece(member.template, asOriginal),
          },
          asOriginal,
        );
        const ours = rows.map((row: Row, i) => {
          const encodedRow = set.rows[i];
          if (!encodedRow) return "";
          const batch = buildBatch([encodedRow], { layout, padId: tokenizer.padId });
          return [
            digest(`${row.context}\0${row.target}`),
            idsDigest(Array.from(batch.inputIds, Number)),
            digest(batch.attentionMask),
            idsDigest(batch.labels),
            idsDigest(prompts.rows[i]?.ids ?? []),
          ].join(" ");
        });
        t.deepEqual(ours, [...lines], `${name}, ${tokenizerName}`);
        // T8: the prompt carries loss, whatever was meant.
        const silent = set.rows.filter(({ labels }) => template !== 4 && labels?.[1] === -100);
        t.is(silent.length, masked, name);
      }
    }
  },
);

test("the fixture has 200 rows of every template, and masks none", (t) => {
  for (const { encoded } of Object.values(reference.sets)) {
    t.is(encoded["tokenizers/smollm2-135m-instruct"]?.lines.length, 200);
    for (const { masked } of Object.values(encoded)) t.is(masked, 0);
  }
  t.deepEqual(
    [...new Set(Object.values(reference.sets).map(({ template }) => template))].sort(),
    [0, 4, 7],
  );
});
