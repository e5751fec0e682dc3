import { multiplyDims, type Dim } from "../../core/dim.js";
import type { Graph } from "../../graph/graph.js";
import type { Value } from "../../graph/op.js";
import type { AttentionInputs } from "../model.js";
import { groupedAttention, type HeadCounts } from "./attention.js";
import type { Dropout } from "./dropout.js";

/** Rows up to this long have their scores whole; longer ones in blocks of half as many queries. */
const WHOLE_COLUMNS = 256;
/** More blocks would save little memory, and cost nodes, which take time when the session is made: they grow instead. */
const MAX_BLOCKS = 8;

/** How the columns of the longest batch are cut: `count` blocks of at most `rows` columns. One block: not at all. */
export interface BlockPlan {
  readonly count: number;
  readonly rows: number;
}

/**
 * How attention among so many columns is cut into blocks.
 *
 * @param blockRows the columns of a block, in place of what is measured to be good
 */
export const planBlocks = (columns: number, blockRows?: number): BlockPlan => {
  if (blockRows === undefined && columns <= WHOLE_COLUMNS) return { count: 1, rows: columns };
  const rows = blockRows ?? Math.max(WHOLE_COLUMNS / 2, Math.ceil(columns / MAX_BLOCKS));
  return { count: Math.ceil(columns / rows), rows };
};

/** How many of `columns` are in each block: the last ones may be empty. */
export const blockSizes = ({ count, rows }: BlockPlan, columns: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => Math.min(rows, Math.max(0, columns - i * rows)));

/** Elements of all scores of one head that are computed for rows of `columns`, which is no more than the half where attention is causal. */
export const scoreCount = (plan: BlockPlan, columns: number, causal: boolean): number =>
  blockSizes(plan, columns).reduce(
    (sum, rows, i) => sum + rows * (causal ? Math.min(columns, (i + 1) * plan.rows) : columns),
    0,
  );

/** The blocks of a graph whose columns are cut: what is laid out along them is cut at the same places. */
export interface Blocks extends BlockPlan {
  /** Pieces of x, one a block, along the axis that has all columns. */
  cut(x: Value, axis: number): readonly Value[];
  /** Whether a block has no columns in this run: bool []. */
  isEmpty(block: number): Value;
  /** The first block of which the queries of a block see a key through a window. */
  first(block: number, window: number | undefined): number;
}

/** @param sizes int64 [count], the columns of each block in this run: an input of the graph; see blockSizes */
export const cutIntoBlocks = (g: Graph, plan: BlockPlan, sizes: Value): Blocks => {
  const names = Array.from({ length: plan.count }, (_, i) => `block${String(i)}`);
  return {
    ...plan,
    cut: (x, axis) => g.splitAtRunTime(x, sizes, names, axis),
    isEmpty: (block) =>
      g.lessOrEqual(g.gather(sizes, g.scalar(block, "int64"), { axis: 0 }), g.scalar(0, "int64")),
    first: (block, window) =>
      window === undefined
        ? 0
        : Math.max(0, Math.floor((block * plan.rows - window + 1) / plan.rows)),
  };
};

/** What blockedAttention is given beside what groupedAttention is. */
export interface BlockedAttentionOptions extends Pick<AttentionInputs, "scale" | "softcap"> {
  readonly blocks: Blocks;
  /** Whether a query sees no key behind its own column: keys behind a block are left out then. */
  readonly causal: boolean;
  /** How far back a query sees; undefined: all. */
  readonly window: number | undefined;
  /** Keys and values before the first column, which every query may see. */
  readonly front?: { readonly keys: Value; readonly values: Value } | undefined;
  /** The mask of one block's queries, over the keys that they are given: those in front, then those of the blocks from `first` on. */
  readonly maskOf: (block: number, first: number) => Value;
  /** The dropout of one block's probabilities. */
  readonly dropoutOf?: (block: number, first: number) => Dropout | undefined;
  /** Whether probabilities are made again in the backward pass instead of being kept. */
  readonly recomputes: boolean;
  /** 0, an input of the graph: with it each block's gradients are made at one time. See ops/joint.ts. */
  readonly zero?: Value | undefined;
}

/**
 * groupedAttention a block of queries at a time, so that the scores of a whole row are never in memory.
 *
 * q [batch, seq, heads * headDim]; keys, values [batch, kvHeads, seq, headDim]. Returns [batch * seq, heads * headDim].
 */
export const blockedAttention = (
  g: Graph,
  { q, keys, values }: Record<"q" | "keys" | "values", Value>,
  model: HeadCounts,
  options: BlockedAttentionOptions,
): Value => {
  const { blocks, causal, window, front, recomputes, zero } = options;
  const { scale, softcap } = options;
  const [batch, seq] = q.shape as readonly [Dim, Dim];
  const width = model.heads * model.headDim;
  const queries = blocks.cut(q, 1);
  const seen = causal
    ? keysByBlock(g, blocks, window, { keys, values, front })
    : Array<SeenKeys>(blocks.count).fill({
        first: 0,
        keys: inFront(g, front?.keys, keys),
        values: inFront(g, front?.values, values),
      });
  const contexts = queries.map((query, i) => {
    const part = seen[i] as SeenKeys;
    const build = (): Value => {
      const own = [query, part.keys, part.values] as const;
      const [q, keys, values] = zero ? g.joint(own, { zero, empty: blocks.isEmpty(i) }) : own;
      const inputs = { q, keys, values, mask: options.maskOf(i, part.first) };
      const context = groupedAttention(g, inputs as Record<keyof typeof inputs, Value>, model, {
        ...(scale !== undefined && { scale }),
        ...(softcap !== undefined && { softcap }),
        dropout: options.dropoutOf?.(i, part.first),
      });
      return g.reshape(context, [batch, query.shape[1] ?? 0, width]);
    };
    return recomputes ? g.cheap(build) : build();
  });
  const rows = g.concat(contexts, 1);
  return g.reshape(rows, [multiplyDims(batch, seq), width], { sameCount: true });
};

/** The keys that a block's queries see, the blocks from `first` on. */
interface SeenKeys {
  readonly first: number;
  readonly keys: Value;
  readonly values: Value;
}

const inFront = (g: Graph, front: Value | undefined, x: Value): Value =>
  front ? g.concat([front, x], 2) : x;

/**
 * Of causal attention: the keys of the blocks up to each one. They are laid end to end onto those of the block before, so that their
 * gradients are summed in as many steps as there are blocks; backward makes them again.
 */
const keysByBlock = (
  g: Graph,
  blocks: Blocks,
  window: number | undefined,
  { keys, values, front }: Pick<BlockedAttentionOptions, "front"> & Omit<SeenKeys, "first">,
): readonly SeenKeys[] => {
  const pieces = { keys: blocks.cut(keys, 2), values: blocks.cut(values, 2) };
  const found: SeenKeys[] = [];
  for (let i = 0; i < blocks.count; i++) {
    const first = blocks.first(i, window);
    const before = found.at(-1);
    const seen = (which: "keys" | "values"): Value => {
      const last = pieces[which][i] as Value;
      if (before?.first === first) return g.cheap(() => g.concat([before[which], last], 2));
      const fresh = pieces[which].slice(first, i + 1);
      const all = front ? [front[which], ...fresh] : fresh;
      return all.length === 1 ? last : g.cheap(() => g.concat(all, 2));
    };
    found.push({ first, keys: seen("keys"), values: seen("values") });
  }
  return found;
};
