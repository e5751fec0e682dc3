import { measurePadding, type BatchLayout } from "./build-batch.js";
import { summariseLengths, type LengthSummary } from "./analysis.js";
import type { LengthLimits } from "./cutting.js";
import { columnsOfLimits, cutTexts, type Cutting } from "./cutting.js";
import type { EncodedSet } from "./encoding.js";
import { planBatches } from "./plan-batches.js";
import { splits, type Split } from "./rows.js";

/** What makes two rows the same: texts, or anything else that stands for them. */
export interface RowKey {
  readonly context: string;
  readonly target: string;
}

/** One split as it is looked at. */
export interface CheckedSplit {
  readonly path: string;
  readonly keys: readonly RowKey[];
  /** Numbers of these rows in their file, where they are not all of them. */
  readonly numbers?: readonly number[] | undefined;
  /** Places among the rows of the texts that go on in further rows. */
  readonly continued?: readonly number[] | undefined;
  /** As for training, rows without a label among them; undefined where there is no tokenizer to encode with. */
  readonly encoded?: EncodedSet | undefined;
}

/** What is known of some rows of a split. */
export interface Finding {
  readonly kind:
    | "unlabelled"
    | "cut contexts"
    | "cut targets"
    | "cut rows"
    | "continued"
    | "empty contexts"
    | "repeated"
    | "contradicting"
    | "in train"
    | "in validation";
  readonly split: Split;
  /** Numbers of the rows, from 0. */
  readonly rows: readonly number[];
  /** Rows of the split. */
  readonly of: number;
  /** What is so of them, to stand behind their number. */
  readonly text: string;
  /** Whether a run on these rows would be wrong without stopping, or would stop. */
  readonly isWrong: boolean;
}

/** How many rows a split has, and how long they are. */
export interface SplitLengths {
  readonly split: Split;
  readonly path: string;
  readonly rows: number;
  /** In tokens, before cutting. */
  readonly lengths?: Readonly<Record<"context" | "target" | "whole", LengthSummary>>;
}

/** What an epoch over train computes, in columns (batch * seq summed), in the ways to pad. */
export interface PaddingCheck {
  readonly batch: number;
  readonly tokens: number;
  readonly buckets: number;
  readonly random: number;
  /** Every row to both limits, as the original; undefined where rows have none. */
  readonly fixed?: number;
}

/** What a check finds in rows before they are learned. */
export interface DataCheck {
  readonly splits: readonly SplitLengths[];
  readonly limits?: LengthLimits;
  readonly findings: readonly Finding[];
  /** Whether validation and test have the same rows in the same order. */
  readonly validationIsTest: boolean;
  readonly padding?: PaddingCheck;
  /** Whether a finding is. */
  readonly isWrong: boolean;
}

/** A share of rows beyond which what is bad in single rows makes a run wrong. */
export const toleratedShare = 0.01;

/** How rows would be cut and batched, and what kind of rows they are. */
export interface CheckOptions {
  /** --batch */
  readonly batch: number;
  /** Undefined for rows that nothing cuts. */
  readonly limits?: LengthLimits | undefined;
  /** Of whole rows, where context and target have no limits of their own: rows that it cuts stand in cutTargets. */
  readonly rowLimit?: number | undefined;
  readonly layout: BatchLayout;
  /** What of rows a limit takes; see Cutting. */
  readonly cutting?: Cutting;
  /** Rows of plain text to learn whole: they have no contexts. */
  readonly isText?: boolean;
  /** Texts with classes: one that is cut keeps what is learnt of it. */
  readonly hasClasses?: boolean;
}

const keyOf = ({ context, target }: RowKey): string =>
  `${String(context.length)} ${context}${target}`;

/** Rows that an earlier row is like, and rows whose context an earlier row has with another target. */
const findRepeats = (
  keys: readonly RowKey[],
): { readonly repeated: readonly number[]; readonly contradicting: readonly number[] } => {
  const [whole, contexts] = [new Set<string>(), new Set<string>()];
  const [repeated, contradicting]: [number[], number[]] = [[], []];
  for (const [row, key] of keys.entries()) {
    const both = keyOf(key);
    if (whole.has(both)) repeated.push(row);
    else if (contexts.has(key.context)) contradicting.push(row);
    whole.add(both);
    contexts.add(key.context);
  }
  return { repeated, contradicting };
};

const sameKeys = (a: readonly RowKey[], b: readonly RowKey[]): boolean =>
  a.length === b.length && a.every((key, i) => b[i] !== undefined && keyOf(key) === keyOf(b[i]));

/**
 * Looks at the splits of a data set as a run would get them: lengths, what is cut, rows without a label, and rows that repeat
 * each other inside and between splits.
 *
 * Wrong are: any row without a label, since training stops there; and, in more than `toleratedShare` of a split's rows, a
 * target or a context that is cut, and a validation or test context that train has too.
 */
export const checkRows = (
  bySplit: Partial<Readonly<Record<Split, CheckedSplit>>>,
  {
    batch,
    limits,
    rowLimit,
    layout,
    cutting = "ours",
    isText = false,
    hasClasses = false,
  }: CheckOptions,
): DataCheck => {
  const findings: Finding[] = [];
  const present = splits.flatMap((split) => {
    const checked = bySplit[split];
    return checked === undefined ? [] : [{ split, checked }];
  });
  const validationIsTest =
    bySplit.validation !== undefined &&
    bySplit.test !== undefined &&
    sameKeys(bySplit.validation.keys, bySplit.test.keys);
  // Rows that serve as both are told of once, as the test's.
  const told = present.filter(({ split }) => split !== "validation" || !validationIsTest);
  for (const { split, checked } of told) {
    const { keys, encoded, numbers, continued = [] } = checked;
    const of = keys.length;
    const add = (
      kind: Finding["kind"],
      rows: readonly number[],
      text: string,
      wrong: "always" | "many" | "never",
    ): void => {
      if (rows.length === 0) return;
      const isWrong = wrong === "always" || (wrong === "many" && rows.length > toleratedShare * of);
      findings.push({
        ...{ kind, split, of, text, isWrong },
        rows: rows.map((row) => numbers?.[row] ?? row),
      });
    };
    if (encoded !== undefined) {
      add(
        "unlabelled",
        encoded.unlabelled,
        split === "test" ? "rows without a target" : "rows without a label: training refuses them",
        split === "test" ? "never" : "always",
      );
      if (limits !== undefined) {
        const { contexts, targets } = cutTexts(limits, cutting);
        add("cut contexts", encoded.cutContexts, contexts, "many");
        // Test targets are compared, not learnt.
        add("cut targets", encoded.cutTargets, targets, split === "test" ? "never" : "many");
      }
      if (rowLimit !== undefined) {
        const limit = `over ${String(rowLimit)} tokens`;
        const wrong = hasClasses ? "never" : "many";
        add("cut rows", encoded.cutTargets, `rows ${limit}, cut: they lose their end`, wrong);
        add("continued", continued, `texts ${limit}, which go on in further rows`, "never");
      }
    }
    if (!isText)
      add(
        "empty contexts",
        keys.flatMap((key, row) => (key.context.trim() === "" ? [row] : [])),
        "rows whose context is empty",
        "never",
      );
    const { repeated, contradicting } = findRepeats(keys);
    add("repeated", repeated, "rows that repeat an earlier one", "never");
    if (!isText)
      add(
        "contradicting",
        contradicting,
        "rows with an earlier row's context and another target",
        "never",
      );
    for (const other of ["train", "validation"] as const) {
      const earlier = bySplit[other];
      if (earlier === undefined || splits.indexOf(other) >= splits.indexOf(split)) continue;
      if (other === "validation" && validationIsTest) continue;
      const part = isText ? keyOf : ({ context }: RowKey): string => context;
      const known = new Set(earlier.keys.map(part));
      add(
        `in ${other}`,
        keys.flatMap((key, row) => (known.has(part(key)) ? [row] : [])),
        `${isText ? "texts" : "contexts"} that ${other} has too`,
        other === "train" ? "many" : "never",
      );
    }
  }
  const train = bySplit.train?.encoded;
  const padding =
    train === undefined ? undefined : measure(train, { batch, limits, layout, cutting });
  return {
    splits: present.map(({ split, checked }) => lengthsOf(split, checked)),
    ...(limits && { limits }),
    findings,
    validationIsTest,
    ...(padding && { padding }),
    isWrong: findings.some(({ isWrong }) => isWrong),
  };
};

const lengthsOf = (split: Split, { path, keys, encoded }: CheckedSplit): SplitLengths => {
  const whole = encoded?.wholeLengths;
  if (whole === undefined) return { split, path, rows: keys.length };
  return {
    split,
    path,
    rows: keys.length,
    lengths: {
      context: summariseLengths(whole.map(({ context }) => context)),
      target: summariseLengths(whole.map(({ target }) => target)),
      whole: summariseLengths(whole.map(({ context, target }) => context + target)),
    },
  };
};

const measure = (
  { rows }: EncodedSet,
  { batch, limits, layout, cutting = "ours" }: Omit<CheckOptions, "isText" | "rowLimit">,
): PaddingCheck => {
  const lengths = rows.map(({ ids }) => ids.length);
  const columns = (buckets: boolean): ReturnType<typeof measurePadding> =>
    measurePadding(
      rows,
      planBatches({ lengths, batch, order: { kind: "shuffled", seed: 42, epoch: 0, buckets } }),
      layout,
    );
  const bucketed = columns(true);
  return {
    batch,
    tokens: bucketed.tokens,
    buckets: bucketed.columns,
    random: columns(false).columns,
    ...(limits && { fixed: rows.length * columnsOfLimits(limits, cutting) }),
  };
};
