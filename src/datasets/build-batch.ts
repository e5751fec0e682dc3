import type { Compat } from "../core/compat.js";
import type { EncodedRow } from "./encoded-rows.js";
import { countLabels, noLoss } from "./encoded-rows.js";

/** Rows side by side in one rectangle. */
export interface Batch {
  /** Numbers of the rows in their file. */
  readonly rows: readonly number[];
  readonly batch: number;
  readonly seq: number;
  readonly inputIds: BigInt64Array; // [batch, seq]
  readonly attentionMask: Uint8Array; // [batch, seq], 1 = real
  readonly labels: Int32Array; // [batch, seq], -100 = no loss, not shifted
  readonly classes?: Int32Array; // [batch], where every row has a class
  readonly tokenTypes?: BigInt64Array; // [batch, seq], where a row has them
  /** Real tokens; the other batch * seq - tokens are padding. */
  readonly tokens: number;
  /** Labels that carry loss; of rows with classes, the rows. Column 0 never does: nothing comes before it that could predict it. */
  readonly labelledTokens: number;
}

/** Where a batch pads. */
export type BatchLayout =
  /**
   * Contexts on the left of a line that all rows share, padded on their left; what follows on its right, padded on its
   * right. Without numbers, as many columns as the batch needs; with them, always that many (the original: 256 and 16).
   */
  | {
      readonly kind: "context-target";
      readonly contextColumns?: number | undefined;
      readonly targetColumns?: number | undefined;
    }
  /** Rows start in column 0 and are padded on the right: pre-tokenized data, as given. */
  | { readonly kind: "right-padded" };

/**
 * The layout of encoded rows: as narrow as each batch allows, or under compat "pad" always as wide as the limits.
 *
 * @param limits.inOnePiece rows have no line that contexts end at, and the context's limit is the whole row's; see encodeInOnePiece
 */
export const trainingLayout = (
  limits: {
    readonly maxContextTokens: number;
    readonly maxTargetTokens: number;
    readonly inOnePiece?: boolean;
  },
  compat: Compat = new Set(),
): BatchLayout => {
  if (!compat.has("pad"))
    return { kind: "context-target", contextColumns: undefined, targetColumns: undefined };
  const { maxContextTokens, maxTargetTokens, inOnePiece = false } = limits;
  return inOnePiece
    ? { kind: "context-target", contextColumns: 0, targetColumns: maxContextTokens }
    : {
        kind: "context-target",
        contextColumns: maxContextTokens,
        targetColumns: maxTargetTokens,
      };
};

interface Columns {
  /** Columns before the line that contexts end at; 0 where there is no such line. */
  readonly context: number;
  readonly all: number;
}

/** @throws {RangeError} if a row is longer than the layout's fixed columns */
const columnsOf = (rows: readonly EncodedRow[], layout: BatchLayout): Columns => {
  if (layout.kind === "right-padded") return { context: 0, all: longest(rows, (row) => row.ids) };
  const context = longest(rows, ({ contextLength }) => ({ length: contextLength }));
  const target = longest(rows, ({ ids, contextLength }) => ({
    length: ids.length - contextLength,
  }));
  const { contextColumns = context, targetColumns = target } = layout;
  if (context > contextColumns || target > targetColumns)
    throw new RangeError(
      `found a row of ${String(context)} + ${String(target)} tokens, expected at most ${String(contextColumns)} + ${String(targetColumns)}`,
    );
  return { context: contextColumns, all: contextColumns + targetColumns };
};

const longest = (
  rows: readonly EncodedRow[],
  part: (row: EncodedRow) => { readonly length: number },
): number => rows.reduce((most, row) => Math.max(most, part(row).length), 0);

/**
 * Puts rows side by side. Padding has the pad id, mask 0 and label -100.
 *
 * @throws {RangeError} if there are no rows, or one is longer than the layout's fixed columns
 */
export const buildBatch = (
  rows: readonly EncodedRow[],
  { layout, padId }: { readonly layout: BatchLayout; readonly padId: number },
): Batch => {
  if (rows.length === 0) throw new RangeError("found no rows, expected at least one");
  const columns = columnsOf(rows, layout);
  const seq = columns.all;
  const inputIds = new BigInt64Array(rows.length * seq).fill(BigInt(padId));
  const attentionMask = new Uint8Array(rows.length * seq);
  const labels = new Int32Array(rows.length * seq).fill(noLoss);
  const tokenTypes = rows.some((row) => row.tokenTypes)
    ? new BigInt64Array(rows.length * seq)
    : undefined;
  const classes = rows.flatMap(({ classLabel }) => classLabel ?? []);
  const hasClasses = classes.length === rows.length;
  let tokens = 0;
  let labelledTokens = hasClasses ? rows.length : 0;
  for (const [i, row] of rows.entries()) {
    const indent = layout.kind === "right-padded" ? 0 : columns.context - row.contextLength;
    for (const [position, id] of row.ids.entries()) {
      const column = indent + position;
      const at = i * seq + column;
      inputIds[at] = BigInt(id);
      const isReal = row.attentionMask?.[position] ?? 1;
      attentionMask[at] = isReal;
      if (tokenTypes) tokenTypes[at] = BigInt(row.tokenTypes?.[position] ?? 0);
      tokens += isReal;
      const label = row.labels?.[position] ?? (position < row.contextLength ? noLoss : id);
      labels[at] = label;
      if (label !== noLoss && column > 0) labelledTokens++;
    }
  }
  return {
    rows: rows.map(({ row }) => row),
    batch: rows.length,
    seq,
    inputIds,
    attentionMask,
    labels,
    ...(hasClasses && { classes: Int32Array.from(classes) }),
    ...(tokenTypes && { tokenTypes }),
    tokens,
    labelledTokens,
  };
};

/** How much of the work of an epoch is padding. */
export interface PaddingStatistics {
  readonly tokens: number;
  readonly labelledTokens: number;
  /** batch * seq, summed over the batches: what is computed. */
  readonly columns: number;
  readonly batches: number;
}

/** The statistics of a plan (see planBatches), without building its batches. */
export const measurePadding = (
  rows: readonly EncodedRow[],
  plan: readonly ArrayLike<number>[],
  layout: BatchLayout,
): PaddingStatistics => {
  let [tokens, labelledTokens, columns] = [0, 0, 0];
  for (const indices of plan) {
    const members = Array.from(indices, (i) => rows[i]).filter((row) => row !== undefined);
    columns += members.length * columnsOf(members, layout).all;
    for (const row of members) {
      tokens += row.attentionMask?.reduce((sum, mask) => sum + mask, 0) ?? row.ids.length;
      labelledTokens += countLabels(row);
    }
  }
  return { tokens, labelledTokens, columns, batches: plan.length };
};
